//! Sums of groups of points by trees: every round adds pairs of the same group, all of them independent.

use super::super::Kernels;
#[cfg(target_arch = "x86_64")]
use super::super::ifma;
use super::super::memory::{coordinate_words, prefetch};
use super::points::{Point, negated};
use halo2curves::bn256::{Fq, G1};
use halo2curves::ff::Field;
use halo2curves::group::{Curve, Group};

/// Marks a member whose point is subtracted.
pub(in crate::cpu) const NEGATIVE: u32 = 1 << 31;

/// Groups of points.
pub(super) struct Groups {
    /// Indices of points with [`NEGATIVE`], group after group.
    pub(super) members: Vec<u32>,
    /// Where each group ends.
    pub(super) ends: Vec<u32>,
}

/// Additions of one round: of points `a` and `b`, which may be marked [`NEGATIVE`], to the places `to`.
#[derive(Default)]
pub(in crate::cpu) struct Pairs {
    pub(in crate::cpu) a: Vec<u32>,
    pub(in crate::cpu) b: Vec<u32>,
    pub(in crate::cpu) to: Vec<u32>,
}

impl Pairs {
    fn clear(&mut self) {
        self.a.clear();
        self.b.clear();
        self.to.clear();
    }

    /// Adds pairs to consecutive places.
    fn extend(&mut self, pairs: impl ExactSizeIterator<Item = [u32; 2]> + Clone, to: u32) {
        self.to.extend(to..to + pairs.len() as u32);
        self.a.extend(pairs.clone().map(|[a, _]| a));
        self.b.extend(pairs.map(|[_, b]| b));
    }

    /// Repeats the last pair until there are a multiple of `multiple`.
    fn pad(&mut self, multiple: usize) {
        let len = self.to.len().next_multiple_of(multiple);
        for members in [&mut self.a, &mut self.b, &mut self.to] {
            let last = members.last().copied().unwrap_or(0);
            members.resize(len, last);
        }
    }
}

/// What additions keep between a round's halves.
pub(in crate::cpu) enum Additions {
    Portable {
        differences: Vec<Fq>,
        products: Vec<Fq>,
    },
    #[cfg(target_arch = "x86_64")]
    Ifma(Box<ifma::curve::Additions>),
}

impl Additions {
    fn new(kernels: Kernels) -> Self {
        match kernels {
            Kernels::Portable => Self::Portable {
                differences: Vec::new(),
                products: Vec::new(),
            },
            #[cfg(target_arch = "x86_64")]
            Kernels::Ifma(available) => Self::Ifma(Box::new(ifma::curve::Additions::new(available))),
        }
    }

    /// Adds all pairs by the chord rule. False if a pair has no chord, since its points are equal or opposite; the sums are
    /// then worth nothing. None of the points is the identity.
    fn add(&mut self, points: &[Point], pairs: &mut Pairs, sums: &mut [Point]) -> bool {
        if pairs.to.is_empty() {
            return true;
        }
        match self {
            Self::Portable {
                differences,
                products,
            } => add_portably(points, pairs, sums, differences, products),
            #[cfg(target_arch = "x86_64")]
            Self::Ifma(additions) => {
                pairs.pad(ifma::curve::PAIRS_MULTIPLE);
                additions.add(points, pairs, sums)
            }
        }
    }
}

fn add_portably(
    points: &[Point],
    pairs: &Pairs,
    sums: &mut [Point],
    differences: &mut Vec<Fq>,
    products: &mut Vec<Fq>,
) -> bool {
    let get = |member: u32| {
        let point = points[(member & !NEGATIVE) as usize].affine(Kernels::Portable);
        if member & NEGATIVE == 0 { point } else { -point }
    };
    differences.clear();
    products.clear();
    let mut product = Fq::ONE;
    for (a, b) in pairs.a.iter().zip(&pairs.b) {
        let difference = get(*b).x - get(*a).x;
        products.push(product);
        differences.push(difference);
        product *= difference;
    }
    let Some(mut inverse) = Option::<Fq>::from(product.invert()) else {
        return false;
    };
    for at in (0..pairs.to.len()).rev() {
        let (a, b) = (get(pairs.a[at]), get(pairs.b[at]));
        let slope = (b.y - a.y) * inverse * products[at];
        inverse *= differences[at];
        let x = slope.square() - a.x - b.x;
        let y = slope * (a.x - x) - a.y;
        let mut words = [0; 8];
        words[..4].copy_from_slice(&coordinate_words(&x));
        words[4..].copy_from_slice(&coordinate_words(&y));
        sums[pairs.to[at] as usize] = Point(words);
    }
    true
}

/// Memory for sums of groups, used again and again.
pub(super) struct Trees {
    kernels: Kernels,
    additions: Additions,
    modulus: [u64; 4],
    pairs: Pairs,
    /// Points of this round and of the next.
    current: Vec<Point>,
    next: Vec<Point>,
    /// Groups whose sums are not written yet: their numbers and their lengths, in order.
    open: Vec<(u32, u32)>,
    /// Members of the first round without a partner, and their places among this round's points.
    singles: Vec<(u32, u32)>,
}

impl Trees {
    pub(super) fn new(kernels: Kernels) -> Self {
        // The words of -1 and of 1 add up to the modulus.
        let (one, minus_one) = (coordinate_words(&Fq::ONE), coordinate_words(&-Fq::ONE));
        let mut carry = 0u128;
        let mut modulus = [0; 4];
        for (word, (a, b)) in modulus.iter_mut().zip(one.into_iter().zip(minus_one)) {
            carry += u128::from(a) + u128::from(b);
            (*word, carry) = (carry as u64, carry >> 64);
        }
        Self {
            kernels,
            additions: Additions::new(kernels),
            modulus,
            pairs: Pairs::default(),
            current: Vec::new(),
            next: Vec::new(),
            open: Vec::new(),
            singles: Vec::new(),
        }
    }

    /// Writes the sum of every group: [`Point::NONE`] for an empty one or one that adds up to the identity. Members are not
    /// the identity.
    pub(super) fn sums(&mut self, points: &[Point], groups: &Groups, sums: &mut [Point]) {
        if !self.rounds(points, groups, sums) {
            self.sums_projectively(points, groups, sums);
        }
    }

    /// False if an addition met equal or opposite points.
    fn rounds(&mut self, points: &[Point], groups: &Groups, sums: &mut [Point]) -> bool {
        self.first_round(points, groups, sums);
        if !self.additions.add(points, &mut self.pairs, &mut self.current) {
            return false;
        }
        for (member, to) in &self.singles {
            let point = &points[(member & !NEGATIVE) as usize];
            let negative = member & NEGATIVE != 0;
            self.current[*to as usize] = if negative {
                negated(point, &self.modulus)
            } else {
                *point
            };
        }
        while !self.open.is_empty() {
            self.pairs.clear();
            let (mut from, mut to) = (0, 0);
            let mut open = std::mem::take(&mut self.open);
            let points = open.iter().map(|(_, len)| len.div_ceil(2) as usize).sum();
            lengthen(&mut self.next, points);
            open.retain_mut(|(group, len)| {
                if *len == 1 {
                    sums[*group as usize] = self.current[from as usize];
                    from += 1;
                    return false;
                }
                let neighbours = (0..*len / 2).map(|pair| [from + 2 * pair, from + 2 * pair + 1]);
                self.pairs.extend(neighbours, to);
                (from, to) = (from + *len / 2 * 2, to + *len / 2);
                if *len % 2 == 1 {
                    self.next[to as usize] = self.current[from as usize];
                    (from, to) = (from + 1, to + 1);
                }
                *len = len.div_ceil(2);
                true
            });
            self.open = open;
            if !self.additions.add(&self.current, &mut self.pairs, &mut self.next) {
                return false;
            }
            std::mem::swap(&mut self.current, &mut self.next);
        }
        true
    }

    /// Pairs up the members; single ones wait for the next round.
    fn first_round(&mut self, points: &[Point], groups: &Groups, sums: &mut [Point]) {
        self.pairs.clear();
        self.open.clear();
        self.singles.clear();
        let (mut start, mut to) = (0, 0);
        for (group, end) in groups.ends.iter().enumerate() {
            let members = &groups.members[start as usize..*end as usize];
            start = *end;
            if members.is_empty() {
                sums[group] = Point::NONE;
                continue;
            }
            let (couples, single) = members.as_chunks::<2>();
            self.pairs.extend(couples.iter().copied(), to);
            to += couples.len() as u32;
            if let Some(member) = single.first() {
                prefetch(points, (member & !NEGATIVE) as usize);
                self.singles.push((*member, to));
                to += 1;
            }
            self.open.push((group as u32, members.len().div_ceil(2) as u32));
        }
        lengthen(&mut self.current, to as usize);
    }

    /// Sums by complete formulas, for points that a chord cannot add.
    fn sums_projectively(&self, points: &[Point], groups: &Groups, sums: &mut [Point]) {
        let mut start = 0;
        for (sum, end) in sums.iter_mut().zip(&groups.ends) {
            let members = groups.members[start as usize..*end as usize].iter();
            start = *end;
            let total = members.fold(G1::identity(), |total, member| {
                let point = points[(member & !NEGATIVE) as usize].affine(self.kernels);
                if member & NEGATIVE == 0 {
                    total + point
                } else {
                    total - point
                }
            });
            *sum = Point::new(self.kernels, &total.to_affine());
        }
    }
}

/// Makes room for points that a round writes before it reads them.
fn lengthen(points: &mut Vec<Point>, len: usize) {
    if points.len() < len {
        points.resize(len, Point::NONE);
    }
}

/// Groups of the points that are `width` apart, identities left out.
pub(super) fn columns(points: &[Point], width: usize) -> Groups {
    let mut groups = Groups {
        members: Vec::new(),
        ends: Vec::new(),
    };
    for column in 0..width {
        let members = (column..points.len()).step_by(width);
        let members = members.filter(|at| !points[*at].is_none());
        groups.members.extend(members.map(|at| at as u32));
        groups.ends.push(groups.members.len() as u32);
    }
    groups
}
