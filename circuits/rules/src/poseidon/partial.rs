//! The linear algebra that lets Poseidon's partial rounds be laid out as one sequence.
//!
//! In a partial round only element 0 passes the S-box, so the rest of the state is a linear image of what went
//! through it. Write `M` for the MDS matrix, `A` for `M` with column 0 set to zero, `m` for that column, `x_r` for
//! element 0 before round `r` and `y_r = (x_r + k_r)^5`. With the round constants moved to element 0 (`k_r`) the
//! state obeys `s' = A s + m y_r`, and since `A` satisfies its own characteristic equation the `x_r` obey a linear
//! recurrence with constant coefficients. The circuit therefore stores two cells a partial round and never the state.

use super::Spec;
use halo2curves::bn256::Fr;
use halo2curves::ff::Field;

/// A linear form over a window of S-box inputs `x` and outputs `y`.
#[derive(Clone, Debug)]
pub struct Window {
    /// Coefficient of each `x` in the window.
    pub x: Vec<Fr>,
    /// Coefficient of each `y` in the window.
    pub y: Vec<Fr>,
}

/// The partial rounds of a width-`T` Poseidon as linear forms (source: module documentation).
#[derive(Clone, Debug)]
pub struct PartialRounds<const T: usize> {
    /// `init[r]`: `x_r` for `r < T` from the last full round's S-box outputs (`x` part, `T` of them) and `y_0 … y_{r-1}`.
    pub init: Vec<Window>,
    /// `x_{r+T}` from `x_r … x_{r+T-1}` and `y_r … y_{r+T-1}`.
    pub step: Window,
    /// The state after the partial rounds from their last `T` inputs and outputs, an element each.
    pub last: Vec<Window>,
    /// `k_r`, the constant added to `x_r` before its S-box.
    pub constants: Vec<Fr>,
    /// Constants of the full round that follows, with what the partial rounds left over.
    pub next_constants: [Fr; T],
}

type Matrix<const T: usize> = [[Fr; T]; T];

fn row_times<const T: usize>(row: &[Fr; T], m: &Matrix<T>) -> [Fr; T] {
    std::array::from_fn(|j| (0..T).map(|i| row[i] * m[i][j]).sum())
}

fn times_column<const T: usize>(m: &Matrix<T>, column: &[Fr; T]) -> [Fr; T] {
    std::array::from_fn(|i| (0..T).map(|j| m[i][j] * column[j]).sum())
}

/// Gauss-Jordan inversion. Panics on a singular matrix: the input is a constant of the protocol.
fn invert<const T: usize>(matrix: &Matrix<T>) -> Matrix<T> {
    let mut a = *matrix;
    let mut out: Matrix<T> =
        std::array::from_fn(|i| std::array::from_fn(|j| if i == j { Fr::ONE } else { Fr::ZERO }));
    for column in 0..T {
        let pivot = (column..T)
            .find(|&row| a[row][column] != Fr::ZERO)
            .expect("the observability matrix of Poseidon's partial rounds is regular");
        a.swap(column, pivot);
        out.swap(column, pivot);
        let scale = a[column][column].invert().expect("the pivot is not zero");
        for j in 0..T {
            a[column][j] *= scale;
            out[column][j] *= scale;
        }
        for row in (0..T).filter(|&row| row != column) {
            let factor = a[row][column];
            for j in 0..T {
                let (from_a, from_out) = (a[column][j], out[column][j]);
                a[row][j] -= factor * from_a;
                out[row][j] -= factor * from_out;
            }
        }
    }
    out
}

impl<const T: usize> PartialRounds<T> {
    /// Derives the forms from the round constants and MDS matrix of `spec`.
    pub fn new(spec: &Spec<T>) -> Self {
        let half = spec.full_rounds / 2;
        let m = &spec.mds;
        let mut a = *m;
        for row in a.iter_mut() {
            row[0] = Fr::ZERO;
        }
        let m0: [Fr; T] = std::array::from_fn(|i| m[i][0]);

        // observe[j] = e0ᵀ A^j and impulse[j] = e0ᵀ A^j m.
        let mut observe = vec![std::array::from_fn(|i| if i == 0 { Fr::ONE } else { Fr::ZERO })];
        for j in 0..T {
            observe.push(row_times(&observe[j], &a));
        }
        let dot = |row: &[Fr; T], column: &[Fr; T]| -> Fr { (0..T).map(|i| row[i] * column[i]).sum() };
        let impulse: Vec<Fr> = observe.iter().map(|row| dot(row, &m0)).collect();

        let init = (0..T)
            .map(|r| Window {
                x: row_times(&observe[r], m).to_vec(),
                y: (0..r).map(|i| impulse[r - 1 - i]).collect(),
            })
            .collect();

        let square: Matrix<T> = std::array::from_fn(|j| observe[j]);
        let inverse = invert(&square);
        // A form `row · state` over the window: state = inverse · (x_j - Σ_{i<j} impulse[j-1-i] y_i).
        let over_window = |row: &[Fr; T]| {
            let x = row_times(row, &inverse);
            let y = (0..T)
                .map(|i| -(i + 1..T).map(|j| x[j] * impulse[j - 1 - i]).sum::<Fr>())
                .collect();
            Window { x: x.to_vec(), y }
        };
        let mut step = over_window(&observe[T]);
        for i in 0..T {
            step.y[i] += impulse[T - 1 - i];
        }

        let mut power: Matrix<T> =
            std::array::from_fn(|i| std::array::from_fn(|j| if i == j { Fr::ONE } else { Fr::ZERO }));
        let mut injected = vec![m0];
        for _ in 0..T {
            power = std::array::from_fn(|i| row_times(&power[i], &a));
            let latest = injected[injected.len() - 1];
            injected.push(times_column(&a, &latest));
        }
        let last = (0..T)
            .map(|element| {
                let mut form = over_window(&power[element]);
                for i in 0..T {
                    form.y[i] += injected[T - 1 - i][element];
                }
                form
            })
            .collect();

        let mut shift = [Fr::ZERO; T];
        let mut constants = Vec::with_capacity(spec.partial_rounds);
        for r in 0..spec.partial_rounds {
            let mut sum: [Fr; T] = std::array::from_fn(|i| shift[i] + spec.round_constants[half + r][i]);
            constants.push(sum[0]);
            sum[0] = Fr::ZERO;
            shift = times_column(m, &sum);
        }
        let next = &spec.round_constants[half + spec.partial_rounds];
        Self {
            init,
            step,
            last,
            constants,
            next_constants: std::array::from_fn(|i| next[i] + shift[i]),
        }
    }
}
