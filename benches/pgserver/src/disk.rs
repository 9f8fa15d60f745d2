//! A small disk of a server's own, which can be full: a file system in memory, in a mount namespace that nobody else sees. An ordinary
//! user has one where the system lets users make namespaces.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Bytes that are written at once while a disk is filled, and then one by one.
const BLOCK: usize = 1 << 16;

/// The disk. It is gone when this is dropped, or the process ends.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    /// Keeps the namespace until its input ends.
    holder: Child,
    at: PathBuf,
    /// Whether it is in a namespace of users too.
    of_users: bool,
}

impl SmallDisk {
    /// Makes one at a folder. `owner` is who it is to belong to, where this process is root's.
    ///
    /// # Errors
    /// Why there can be none here.
    pub(crate) fn make(at: &Path, bytes: u64, owner: Option<(u32, u32)>) -> Result<Self, String> {
        let mut command = Command::new("unshare");
        command.arg("--mount");
        let mut options = format!("size={bytes},mode=700");
        match owner {
            Some((uid, gid)) => options += &format!(",uid={uid},gid={gid}"),
            None => drop(command.args(["--user", "--map-root-user"])),
        }
        command.args([
            "--",
            "sh",
            "-c",
            "mount -t tmpfs -o \"$1\" none \"$0\" && echo made && exec cat",
        ]);
        command.arg(at).arg(options);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let holder = command.spawn().map_err(|error| format!("unshare: {error}"))?;
        let mut disk = Self {
            holder,
            at: at.into(),
            of_users: owner.is_none(),
        };
        let mut made = String::new();
        let output = disk.holder.stdout.as_mut().expect("it is piped");
        // An error is an empty line.
        let _ = BufReader::new(output).read_line(&mut made);
        if made == "made\n" {
            return Ok(disk);
        }
        let mut why = String::new();
        let errors = disk.holder.stderr.as_mut().expect("it is piped");
        let _ = errors.read_to_string(&mut why);
        Err(why.trim().to_owned())
    }

    /// The beginning of a command that sees the disk, as an ordinary user.
    pub(crate) fn enter(&self, user: Option<(u32, u32)>) -> Command {
        let namespace = |kind: &str| {
            format!(
                "--{}=/proc/{}/ns/{kind}",
                if kind == "mnt" { "mount" } else { kind },
                self.holder.id()
            )
        };
        let mut command = Command::new("nsenter");
        command.arg(namespace("mnt"));
        if self.of_users {
            command.arg(namespace("user")).arg("--preserve-credentials");
            // Whoever made the namespace is root there, which the server refuses to be.
            command.args(["--", "unshare", "--user", "--map-user=1000", "--map-group=1000"]);
        }
        command.args(["--", "setpriv"]);
        if let Some((uid, gid)) = user {
            command.args([format!("--reuid={uid}"), format!("--regid={gid}")]);
            command.arg("--clear-groups");
        }
        command
    }

    /// Leaves no room for a byte.
    pub(crate) fn fill(&self) {
        let mut file = File::options()
            .append(true)
            .create(true)
            .open(self.ballast())
            .expect("it opens");
        let mut block = &[0; BLOCK][..];
        loop {
            match file.write_all(block) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull && block.len() > 1 => {
                    block = &block[..1]
                }
                Err(error) if error.kind() == ErrorKind::StorageFull => return,
                Err(error) => panic!("the disk cannot be filled: {error}"),
            }
        }
    }

    /// Makes room again, if it was filled.
    pub(crate) fn make_room(&self) {
        match fs::remove_file(self.ballast()) {
            Err(error) if error.kind() != ErrorKind::NotFound => panic!("the disk stays full: {error}"),
            _ => {}
        }
    }

    /// What fills it, as this process sees it.
    fn ballast(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        let at = self.at.strip_prefix("/").expect("it is absolute");
        root.join(at).join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
