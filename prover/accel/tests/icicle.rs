//! The ICICLE device over the reference library: the conformance suite, each way in which opening and calling fail,
//! and the report.

mod reference;

use accel::conformance::{Extent, run};
use accel::icicle::{OpenError, Report, doctor};
use accel::{Device, DeviceError, Direction, IcicleConfig, IcicleDevice, Memory, Op, Operand, Program};
use halo2curves::bn256::{Fr, G1Affine};
use reference::{Installation, LIBRARIES};
use std::os::unix::process::ExitStatusExt;

fn open(config: &IcicleConfig) -> IcicleDevice {
    IcicleDevice::open(config).unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(config: &IcicleConfig) -> OpenError {
    match IcicleDevice::open(config) {
        Ok(device) => panic!("{} was opened", device.name()),
        Err(error) => error,
    }
}

fn scalars(n: u64) -> Vec<Fr> {
    (0..n).map(|i| Fr::from(i * i + 7)).collect()
}

#[test]
fn the_cpu_type_conforms() {
    let installation = Installation::new();
    let device = open(&installation.config("CPU", 0));
    let extent = Extent {
        k_max: 11,
        ..Extent::default()
    };
    run(&device, extent).unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn programs_in_small_blocks_conform() {
    let installation = Installation::new();
    let config = IcicleConfig {
        block_elements: 48,
        ..installation.config("CPU", 0)
    };
    let extent = Extent {
        k_max: 8,
        seed: 2,
        threads: 2,
    };
    run(&open(&config), extent).unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn the_cuda_type_conforms_behind_its_driver_and_backend() {
    let installation = Installation::with_cuda();
    let config = IcicleConfig {
        reserve_bytes: 1 << 20,
        ..installation.config("CUDA", 0)
    };
    let device = open(&config);
    // Long enough for what is done by halves and trees.
    let extent = Extent {
        k_max: 11,
        seed: 3,
        threads: 2,
    };
    run(&device, extent).unwrap_or_else(|failure| panic!("{failure}"));
    // SAFETY: the function has this type in the reference library.
    let kept = unsafe { call::<unsafe extern "C" fn() -> u64>(&installation, b"reference_kept_bytes\0")() };
    assert_eq!(kept, 1 << 26, "a part in 16 of the device's memory");
    let total = 1 << 30;
    let memory = device.memory().expect("the reference knows its memory");
    assert_eq!(memory.total, total);
    assert_eq!(memory.free, total, "everything was given back");
}

/// A function of the library that an installation has loaded.
///
/// # Safety
/// It has this type.
unsafe fn call<T: Copy>(installation: &Installation, symbol: &[u8]) -> T {
    // SAFETY: the library was loaded before; its initialisers do nothing.
    let library = unsafe { libloading::Library::new(installation.file()) }.expect("the library");
    // SAFETY: the caller's promise; the library is never unloaded.
    *unsafe { library.get::<T>(symbol) }.expect("a function of the reference library")
}

#[test]
fn what_fails_after_a_call_has_returned_is_an_error_of_the_operation() {
    const UNKNOWN: i32 = 14;
    let installation = Installation::with_cuda();
    let device = open(&installation.config("CUDA", 0));
    let n = 2048;
    let upload = |device: &IcicleDevice| device.upload(&scalars(n)).expect("memory");
    let [mut a, mut b] = [upload(&device), upload(&device)];
    let [left, right] = [0, 1].map(|column| Operand::Input { column, rotation: 0 });
    let product = Program::new(vec![Op::Mul(left, right)], vec![Operand::Result(0)]).expect("one product");
    // SAFETY: the function has this type in the reference library.
    let fail: unsafe extern "C" fn(i32) = unsafe { call(&installation, b"reference_fail_queued\0") };
    // SAFETY: it sets a number.
    unsafe { fail(UNKNOWN) };
    let mut output = device.zeros(n as usize).expect("memory");
    let point = Fr::from(3);
    let results = [
        device.upload(&scalars(n)).map(drop),
        device.download(&a).map(drop),
        device.ntt(&mut [&mut a], Direction::Forward),
        device.coset_ntt(&[&a], point, &mut [&mut output]),
        device.run(&product, &[&a, &b], &[], &mut [&mut output]),
        device.invert(&mut b),
        device.running_product(&mut b, point),
        device.evaluate(&[&a], &[point]).map(drop),
        device.divide(&mut [&mut b], &[point]),
        device.combine(&[&a], &[point], n as usize).map(drop),
    ];
    for (at, result) in results.into_iter().enumerate() {
        assert!(
            matches!(result, Err(DeviceError::Failed { .. })),
            "operation {at}: {result:?}"
        );
    }
    // SAFETY: as above.
    unsafe { fail(0) };
    let values = device.download(&upload(&device)).expect("the device works again");
    assert_eq!(values, scalars(n));
}

#[test]
fn libraries_are_found_in_the_installation_in_lib_and_from_the_backends() {
    let installation = Installation::with_cuda();
    for directory in [
        installation.path().to_path_buf(),
        installation.lib(),
        installation.lib().join("backend"),
    ] {
        let config = IcicleConfig {
            directory,
            ..installation.config("CPU", 0)
        };
        assert_eq!(open(&config).name(), "icicle CPU:0");
    }
}

#[test]
fn an_absent_library_is_named_with_the_places_looked_into() {
    let empty = tempfile::tempdir().expect("a directory");
    let found = refusal(&IcicleConfig::new(Some(empty.path()), "CPU", 0));
    let expected = OpenError::LibraryAbsent {
        name: LIBRARIES[0],
        tried: vec![
            empty.path().join("lib"),
            empty.path().to_path_buf(),
            empty.path().join(".."),
        ],
    };
    assert_eq!(found, expected);
    for name in &LIBRARIES[1..] {
        let installation = Installation::new();
        std::fs::remove_file(installation.lib().join(name)).expect("a link");
        let expected = OpenError::LibraryAbsent {
            name,
            tried: vec![installation.lib()],
        };
        assert_eq!(refusal(&installation.config("CPU", 0)), expected);
    }
}

#[test]
fn a_file_that_is_no_library_is_named() {
    let installation = Installation::new();
    let path = installation.lib().join(LIBRARIES[1]);
    std::fs::remove_file(&path).expect("a link");
    std::fs::write(&path, "not a library").expect("a file");
    match refusal(&installation.config("CPU", 0)) {
        OpenError::LibraryUnloadable { path: found, .. } => {
            assert_eq!(found, path.canonicalize().expect("it is there"));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_missing_symbol_is_named_with_its_library() {
    for (library, symbol) in [
        (LIBRARIES[0], "icicle_get_available_memory"),
        (LIBRARIES[0], "icicle_load_backend"),
        (LIBRARIES[1], "bn254_ntt_init_domain"),
        (LIBRARIES[1], "bn254_scalar_convert_montgomery"),
        (LIBRARIES[2], "bn254_msm_precompute_bases"),
    ] {
        let installation = Installation::new();
        let known = format!("\0{symbol}\0");
        let other = known.to_uppercase();
        installation.damaged(&format!("lib/{library}"), known.as_bytes(), other.as_bytes());
        let found = refusal(&installation.config("CPU", 0));
        let path = installation
            .lib()
            .canonicalize()
            .expect("it is there")
            .join(library);
        assert_eq!(found, OpenError::SymbolMissing { path, symbol });
    }
}

#[test]
fn without_a_driver_no_cuda_backend_is_touched() {
    let installation = Installation::with_cuda();
    let config = installation.config("CUDA", 0);
    let absent = IcicleConfig {
        driver: installation.path().join("libcuda.so.1"),
        ..config.clone()
    };
    let no_file =
        |error| matches!(error, OpenError::DriverAbsent { library, .. } if library.ends_with("libcuda.so.1"));
    assert!(no_file(refusal(&absent)));
    let foreign = IcicleConfig {
        driver: installation.damaged("foreign.so", b"\0cuInit\0", b"\0cuEnit\0"),
        ..config.clone()
    };
    let lacks = |error| matches!(error, OpenError::DriverAbsent { reason, .. } if reason.contains("cuInit"));
    assert!(lacks(refusal(&foreign)));
    let failing = IcicleConfig {
        driver: installation.damaged("failing.so", b"answers: 000,01", b"answers: 100,01"),
        ..config.clone()
    };
    let expected = OpenError::DriverFailed {
        call: "cuInit",
        code: 100,
    };
    assert_eq!(refusal(&failing), expected);
    let empty = IcicleConfig {
        driver: installation.damaged("empty.so", b"answers: 000,01", b"answers: 000,00"),
        ..config.clone()
    };
    assert_eq!(refusal(&empty), OpenError::DriverWithoutDevice);
    // None of these has loaded the backend; this does.
    let report = doctor(&installation.config("CPU", 0), &[]);
    assert!(!report.kinds.contains(&"CUDA".to_string()), "{:?}", report.kinds);
    assert_eq!(open(&config).name(), "icicle CUDA:0");
}

#[test]
fn a_type_without_its_backend_is_refused_with_what_there_is() {
    let installation = Installation::new();
    for kind in ["CUDA", "METAL"] {
        match refusal(&installation.config(kind, 0)) {
            OpenError::NoSuchType {
                kind: found,
                available,
                backends,
            } => {
                assert_eq!(found, kind);
                assert!(available.split(',').any(|kind| kind == "CPU"), "{available}");
                let lib = installation.lib().canonicalize().expect("it is there");
                assert_eq!(backends, lib.join("backend"));
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn an_index_beyond_the_devices_is_refused() {
    let installation = Installation::new();
    let expected = OpenError::NoSuchDevice {
        kind: "CPU".to_string(),
        index: 1,
        count: 1,
    };
    assert_eq!(refusal(&installation.config("CPU", 1)), expected);
}

#[test]
fn settings_out_of_range_are_refused() {
    let installation = Installation::new();
    let good = installation.config("CPU", 0);
    let settings = [
        (
            "kind",
            IcicleConfig {
                kind: "C".repeat(64),
                ..good.clone()
            },
        ),
        (
            "kind",
            IcicleConfig {
                kind: "CP\0U".to_string(),
                ..good.clone()
            },
        ),
        (
            "kind",
            IcicleConfig {
                kind: String::new(),
                ..good.clone()
            },
        ),
        (
            "index",
            IcicleConfig {
                index: 1 << 31,
                ..good.clone()
            },
        ),
        (
            "domain_k",
            IcicleConfig {
                domain_k: 0,
                ..good.clone()
            },
        ),
        (
            "domain_k",
            IcicleConfig {
                domain_k: 29,
                ..good.clone()
            },
        ),
        (
            "block_elements",
            IcicleConfig {
                block_elements: 0,
                ..good
            },
        ),
    ];
    for (expected, config) in settings {
        match refusal(&config) {
            OpenError::Setting { setting, .. } => assert_eq!(setting, expected),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_device_is_open_once_and_as_long_as_its_vectors() {
    let installation = Installation::new();
    let config = installation.config("CPU", 0);
    let already = OpenError::AlreadyOpen {
        kind: "CPU".to_string(),
        index: 0,
    };
    let device = open(&config);
    assert_eq!(refusal(&config), already);
    let vector = device.upload(&scalars(3)).expect("memory");
    drop(device);
    assert_eq!(refusal(&config), already);
    drop(vector);
    // The domain of the first was released: another size is taken.
    let larger = IcicleConfig {
        domain_k: 14,
        ..config
    };
    let device = open(&larger);
    let mut vector = device.upload(&scalars(1 << 14)).expect("memory");
    let transformed = device.ntt(&mut [&mut vector], Direction::Forward);
    assert_eq!(transformed, Ok(()));
}

#[test]
fn a_device_that_computes_wrongly_is_not_opened() {
    let installation = Installation::new();
    for (kind, operation) in [("WRONG_MSM", "msm"), ("WRONG_NTT", "ntt")] {
        let expected = OpenError::SelfCheck {
            operation,
            elements: 1024,
        };
        assert_eq!(refusal(&installation.config(kind, 0)), expected);
        // The refused device was closed again.
        assert_eq!(refusal(&installation.config(kind, 0)), expected);
    }
}

#[test]
fn a_lack_of_memory_is_a_value_and_passes() {
    let installation = Installation::new();
    let device = open(&installation.config("LIMITED", 1));
    let free = |device: &IcicleDevice| device.memory().expect("known").free;
    assert_eq!(free(&device), 1 << 20);
    // 16,384 scalars are half of the memory.
    let first = device.upload(&scalars(16_384)).expect("memory");
    let second = device.zeros(16_384).expect("memory");
    assert_eq!(free(&device), 0);
    let lack = |operation, bytes| DeviceError::OutOfMemory { operation, bytes };
    assert_eq!(device.upload(&scalars(8)).map(drop), Err(lack("upload", 256)));
    assert_eq!(device.zeros(9).map(drop), Err(lack("zeros", 288)));
    assert_eq!(
        device.duplicate(&first).map(drop),
        Err(lack("duplicate", 1 << 19))
    );
    let points = vec![G1Affine::generator(); 4];
    assert_eq!(device.bases(&points, 0).map(drop), Err(lack("bases", 256)));
    drop(second);
    // Kept memory of another size is given back for this.
    let smaller = device.upload(&scalars(1024)).expect("memory");
    assert_eq!(device.download(&smaller), Ok(scalars(1024)));
    drop(smaller);
    assert_eq!(device.download(&first), Ok(scalars(16_384)));
}

/// ICICLE loses track of an address that is freed by one thread and given to another at the same time.
#[test]
fn threads_that_lack_memory_do_not_allocate_and_free_at_once() {
    let installation = Installation::new();
    let device = open(&installation.config("LIMITED", 1));
    // Sizes of their own, so that what one thread has dropped is given back before another is served.
    std::thread::scope(|scope| {
        for thread in 1..=8 {
            let device = &device;
            scope.spawn(move || {
                for i in 0..2000 {
                    match device.zeros(1024 * thread + i) {
                        Ok(_) | Err(DeviceError::OutOfMemory { .. }) => (),
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    let memory = device.memory().expect("known");
    assert_eq!(memory.free, memory.total, "everything was given back");
}

#[test]
fn a_running_product_without_memory_leaves_the_vector() {
    let installation = Installation::new();
    let device = open(&installation.config("LIMITED", 1));
    let mut vector = device.upload(&scalars(20_000)).expect("memory");
    let result = device.running_product(&mut vector, Fr::one());
    let expected = DeviceError::OutOfMemory {
        operation: "running_product",
        bytes: 640_000,
    };
    assert_eq!(result, Err(expected));
    assert_eq!(device.len(&vector), 20_000);
}

#[test]
fn too_little_memory_to_open_is_told() {
    let installation = Installation::new();
    match refusal(&installation.config("LIMITED", 0)) {
        OpenError::Device(DeviceError::OutOfMemory { operation, bytes }) => {
            assert_eq!((operation, bytes), ("bases", 65_536));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn the_reserve_is_left_to_icicle() {
    let installation = Installation::new();
    let config = IcicleConfig {
        reserve_bytes: 5 << 20,
        ..installation.config("LIMITED", 8)
    };
    let device = open(&config);
    // 65,536 scalars are 2 MiB.
    let first = device.zeros(65_536).expect("8 MiB are free");
    let refused = DeviceError::OutOfMemory {
        operation: "zeros",
        bytes: 2 << 20,
    };
    assert_eq!(device.zeros(65_536).map(drop), Err(refused));
    let free = Memory {
        total: 8 << 20,
        free: 6 << 20,
    };
    assert_eq!(device.memory(), Ok(free));
    drop(first);
    // What is kept for reuse is given back when the reserve asks for it.
    device.zeros(80_000).map(drop).expect("the first is free again");
}

#[test]
fn a_failing_call_gives_its_code() {
    let installation = Installation::new();
    let device = open(&installation.config("FAILING", 14));
    let values = scalars(2048);
    let mut vector = device.upload(&values).expect("memory");
    let bases = device
        .bases(&vec![G1Affine::generator(); 2048], 0)
        .expect("memory");
    let failed = |operation| DeviceError::Failed {
        operation,
        reason: "ICICLE gives 14 (unknown error)".to_string(),
    };
    assert_eq!(device.msm(&bases, &[&vector]), Err(failed("msm")));
    let transformed = device.ntt(&mut [&mut vector], Direction::Forward);
    assert_eq!(transformed, Err(failed("ntt")));
    // A lack of memory that ICICLE meets itself is told apart.
    let device = open(&installation.config("FAILING", 2));
    let vector = device.upload(&values).expect("memory");
    let bases = device
        .bases(&vec![G1Affine::generator(); 2048], 0)
        .expect("memory");
    let lack = DeviceError::OutOfMemory {
        operation: "msm",
        bytes: 65_536,
    };
    assert_eq!(device.msm(&bases, &[&vector]), Err(lack));
}

/// What an exception thrown in ICICLE does, and why proving on a GPU belongs in a process of its own.
#[test]
fn an_abort_in_the_library_ends_the_process() {
    const CHILD: &str = "ICICLE_ABORT_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let installation = Installation::new();
        let device = open(&installation.config("ABORTING", 0));
        let mut vector = device.upload(&scalars(2048)).expect("memory");
        let result = device.ntt(&mut [&mut vector], Direction::Forward);
        panic!("the process was not ended: {result:?}");
    }
    let test = std::env::current_exe().expect("the test's own path");
    let mut child = std::process::Command::new(test);
    child.args(["--exact", "an_abort_in_the_library_ends_the_process"]);
    let ended = child.env(CHILD, "1").output().expect("a process");
    assert_eq!(ended.status.signal(), Some(6), "SIGABRT: {ended:?}");
}

#[test]
fn vectors_and_bases_of_another_device_are_refused() {
    let installation = Installation::new();
    let device = open(&installation.config("CPU", 0));
    let other = open(&installation.config("LIMITED", 4));
    let own = device.upload(&scalars(4)).expect("memory");
    let mut foreign = other.upload(&scalars(4)).expect("memory");
    let bases = device.bases(&[G1Affine::generator(); 4], 0).expect("memory");
    let invalid = |result: Result<(), DeviceError>| matches!(result, Err(DeviceError::Invalid { .. }));
    assert!(invalid(device.download(&foreign).map(drop)));
    assert!(invalid(device.duplicate(&foreign).map(drop)));
    assert!(invalid(device.msm(&bases, &[&foreign]).map(drop)));
    assert!(invalid(other.msm(&bases, &[&foreign]).map(drop)));
    assert!(invalid(device.ntt(&mut [&mut foreign], Direction::Forward)));
    assert!(invalid(device.invert(&mut foreign)));
    assert!(invalid(device.running_product(&mut foreign, Fr::one())));
    assert!(invalid(
        device.evaluate(&[&own, &foreign], &[Fr::one(); 2]).map(drop)
    ));
    assert!(invalid(
        device.combine(&[&own, &foreign], &[Fr::one(); 2], 4).map(drop)
    ));
}

#[test]
fn transforms_beyond_the_domain_are_refused() {
    let installation = Installation::new();
    let config = IcicleConfig {
        domain_k: 4,
        ..installation.config("CPU", 0)
    };
    let device = open(&config);
    let mut fits = device.upload(&scalars(16)).expect("memory");
    let mut beyond = device.upload(&scalars(32)).expect("memory");
    let refused = DeviceError::Invalid {
        operation: "ntt",
        reason: "vector 1 has 32 elements, not 2^k with k <= 4".to_string(),
    };
    let both = device.ntt(&mut [&mut fits, &mut beyond], Direction::Forward);
    assert_eq!(both, Err(refused));
    assert_eq!(device.download(&fits), Ok(scalars(16)));
}

#[test]
fn the_report_tells_what_there_is() {
    let installation = Installation::with_cuda();
    let report = doctor(&installation.config("CUDA", 0), &[4, 11, 14]);
    let driver = report.driver.as_ref().expect("asked for CUDA");
    let driver = driver.as_ref().expect("the reference has a driver");
    assert_eq!((driver.cuda_version.as_str(), driver.devices), ("13.0", 1));
    assert!(report.has_icicle_v4);
    assert!(report.kinds.contains(&"CUDA".to_string()), "{:?}", report.kinds);
    let device = report.device.as_ref().expect("a device");
    assert_eq!((device.name.as_str(), device.count), ("icicle CUDA:0", 1));
    assert_eq!(device.memory_total, Some(1 << 30));
    let sizes = |rates: &[accel::Rate]| rates.iter().map(|rate| rate.k).collect::<Vec<u32>>();
    assert_eq!(
        (sizes(&device.msm), sizes(&device.ntt)),
        (vec![4, 11, 14], vec![4, 11, 14])
    );
    assert!(device.msm.iter().all(|rate| rate.seconds.is_some()));
    // The domain holds 2^13.
    assert!(device.ntt[1].seconds.is_some());
    assert!(
        device.ntt[2]
            .error
            .as_ref()
            .is_some_and(|error| error.contains("k <= 13"))
    );
    let json = serde_json::to_value(&report).expect("the report has a JSON form");
    assert_eq!(json["device"]["name"], "icicle CUDA:0");
    assert_eq!(json["driver"]["devices"], 1);
    assert_eq!(serde_json::from_value::<Report>(json).ok(), Some(report));

    // What is timed is also compared: right up to 2^11 elements, wrong above.
    for kind in ["WRONG_MSM", "WRONG_NTT"] {
        let report = doctor(&installation.config(kind, 2048), &[11, 12]);
        let device = report.device.as_ref().expect("it passes the self-check");
        let rates = if kind == "WRONG_MSM" {
            &device.msm
        } else {
            &device.ntt
        };
        assert!(rates[0].seconds.is_some());
        let error = rates[1].error.as_ref().expect("it is wrong");
        assert!(error.contains("differs from the CPU's"), "{error}");
    }
}

#[test]
fn the_report_tells_what_is_missing() {
    let empty = tempfile::tempdir().expect("a directory");
    let config = IcicleConfig {
        driver: empty.path().join("libcuda.so.1"),
        ..IcicleConfig::new(Some(empty.path()), "CUDA", 0)
    };
    let report = doctor(&config, &[4]);
    assert!(!report.has_icicle_v4);
    assert!(report.kinds.is_empty());
    let driver = report.driver.clone().expect("asked for CUDA");
    let reason = driver.expect_err("there is none");
    assert!(reason.starts_with("no NVIDIA driver"), "{reason}");
    let json = serde_json::to_value(&report).expect("the report has a JSON form");
    let reason = report.device.expect_err("there is none");
    assert!(reason.starts_with("no libicicle_device.so in"), "{reason}");
    assert_eq!(json["device"]["error"], reason);
    // Without a driver, the other types of an installation are still told.
    let installation = Installation::with_cuda();
    let config = IcicleConfig {
        driver: empty.path().join("libcuda.so.1"),
        ..installation.config("CUDA", 0)
    };
    let report = doctor(&config, &[4]);
    assert!(report.has_icicle_v4);
    let has = |kind: &str| report.kinds.iter().any(|found| found == kind);
    assert!(has("CPU") && !has("CUDA"), "{:?}", report.kinds);
    let reason = report.device.expect_err("there is no driver");
    assert!(reason.starts_with("no NVIDIA driver"), "{reason}");
}
