//! Programs that are made ready once, on each arithmetic of the CPU.

use accel::{CpuDevice, Device, DeviceError, Op, Operand, Program, Routine};
use halo2curves::bn256::Fr;
use halo2curves::ff::Field;

/// `(a + c)² · b` of two inputs, and `a` of the element before.
fn program() -> Program {
    let input = |column, rotation| Operand::Input { column, rotation };
    let ops = vec![
        Op::Add(input(0, 0), Operand::Constant(0)),
        Op::Square(Operand::Result(0)),
        Op::Mul(Operand::Result(1), input(1, 0)),
    ];
    Program::new(ops, vec![Operand::Result(2), input(0, -1)]).expect("in order")
}

#[test]
fn a_routine_does_what_the_device_does() {
    for device in [CpuDevice::new(), CpuDevice::portable()] {
        let constants = [-Fr::ONE];
        let routine = Routine::new(&device, program(), &constants);
        for n in [0, 1, 15, 16, 17, 83] {
            let column = |factor: u64| {
                (0..n as u64)
                    .map(|i| Fr::from(i.wrapping_mul(factor)) - Fr::ONE)
                    .collect()
            };
            let (a, b): (Vec<Fr>, Vec<Fr>) = (column(3), column(u64::MAX));
            let (mut first, mut second) = (vec![Fr::ZERO; n], vec![Fr::ZERO; n]);
            routine
                .run(&[&a, &b], vec![&mut first, &mut second])
                .expect("it fits");
            let (x, y) = (device.upload(&a).expect("room"), device.upload(&b).expect("room"));
            let (mut z, mut w) = (device.zeros(n).expect("room"), device.zeros(n).expect("room"));
            device
                .run(&program(), &[&x, &y], &constants, &mut [&mut z, &mut w])
                .expect("it fits");
            assert_eq!(first, device.download(&z).expect("there"), "{n} elements");
            assert_eq!(second, device.download(&w).expect("there"), "{n} elements");
        }
    }
}

#[test]
fn what_does_not_fit_the_program_is_refused() {
    let device = CpuDevice::new();
    let routine = Routine::new(&device, program(), &[Fr::ONE]);
    let (three, four) = (vec![Fr::ONE; 3], vec![Fr::ONE; 4]);
    let (mut first, mut second) = (three.clone(), three.clone());
    let short = routine.run(&[&three], vec![&mut first, &mut second]);
    assert!(
        matches!(short, Err(DeviceError::Invalid { operation: "run", .. })),
        "{short:?}"
    );
    let uneven = routine.run(&[&three, &four], vec![&mut first, &mut second]);
    assert!(
        matches!(uneven, Err(DeviceError::Invalid { operation: "run", .. })),
        "{uneven:?}"
    );
    let lacking = Routine::new(&device, program(), &[]);
    let lacking = lacking.run(&[&three, &three], vec![&mut first, &mut second]);
    assert!(
        matches!(lacking, Err(DeviceError::Invalid { operation: "run", .. })),
        "{lacking:?}"
    );
}
