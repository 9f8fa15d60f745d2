//! A signal whose default action ends a process without a word.

/// Ignores SIGXFSZ in this process and those that it starts: a write beyond the limit on a file's size (`ulimit -f`) is then an error
/// as any other is. Nothing where there is no such signal.
pub fn ignore_file_size_signal() {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: no handler is installed, so no code of ours runs in a signal's context.
        // It fails only for a signal that does not exist, and this one does.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    }
}
