//! Where the contract keeps what: the transcript, which holds instances and proof, then what is computed from them.
//!
//! A challenge is a hash of the hash before it and of what the proof says next. So each part of the proof is
//! copied to behind a word for that hash, and hashed where it lies.

use circuits::plonk::{Base, Points, Query, Shape, Value};

/// Where a function's memory begins in Solidity.
const START: usize = 0x80;
/// Bytes of a word.
pub(super) const WORD: usize = 32;

/// A named word, or the first of several.
#[derive(Clone, Debug)]
pub(super) struct Name {
    pub name: String,
    pub at: usize,
    pub meaning: String,
}

/// One stretch of the transcript: a word for the hash so far, then elements; after which challenges are drawn.
#[derive(Clone, Debug)]
pub(super) struct Stretch {
    /// Its place in memory.
    pub at: usize,
    /// Instances in it: of the first stretch alone.
    pub instances: usize,
    /// Where its part of the proof begins, in bytes, and how many it has.
    pub proof_at: usize,
    pub proof_bytes: usize,
    pub points: std::ops::Range<usize>,
    /// Names of the challenges drawn after it.
    pub challenges: &'static [&'static str],
}

impl Stretch {
    /// Where its instances begin.
    pub fn elements(&self) -> usize {
        self.at + WORD
    }

    /// Where its part of the proof lies in memory.
    pub fn proof(&self) -> usize {
        self.elements() + WORD * self.instances
    }

    /// Bytes that are hashed.
    pub fn bytes(&self) -> usize {
        self.proof() + self.proof_bytes - self.at
    }
}

/// The memory map.
#[derive(Debug)]
pub(super) struct Memory {
    pub stretches: Vec<Stretch>,
    /// Names of the proof's points and scalars, in their order.
    pub points: Vec<String>,
    pub scalars: Vec<String>,
    /// All names by section, with a title each.
    pub sections: Vec<(&'static str, Vec<Name>)>,
    next: usize,
}

impl Memory {
    pub fn new(shape: &Shape, instances: &[&str]) -> Self {
        assert_eq!(instances.len(), shape.instances, "each instance has a name");
        let mut memory = Self {
            stretches: stretches(shape),
            points: vec![],
            scalars: vec![],
            sections: vec![],
            next: 0,
        };
        memory.next = memory
            .stretches
            .last()
            .map_or(START, |last| last.at + last.bytes());
        memory.name_proof(shape, instances);
        memory
    }

    /// Names the next words of memory.
    pub fn allocate(&mut self, section: &'static str, name: impl Into<String>, words: usize, meaning: &str) {
        let at = self.next;
        self.next += WORD * words;
        self.name(section, name.into(), at, meaning);
    }

    /// Gives a place that is allocated already a name.
    pub fn name(&mut self, section: &'static str, name: String, at: usize, meaning: &str) {
        let name = Name {
            name,
            at,
            meaning: meaning.to_owned(),
        };
        match self.sections.iter_mut().find(|(title, _)| *title == section) {
            Some((_, names)) => names.push(name),
            None => self.sections.push((section, vec![name])),
        }
    }

    /// The name of a queried column's value.
    pub fn query(&self, shape: &Shape, query: Query) -> String {
        match query {
            Query::Advice(i) => self.scalars[i].clone(),
            Query::Fixed(i) => self.scalars[shape.first_fixed + i].clone(),
            Query::Instance(i) => format!("INSTANCE_AT_X_{i}"),
        }
    }

    /// Bytes of a proof.
    pub fn proof_bytes(&self) -> usize {
        self.stretches.iter().map(|stretch| stretch.proof_bytes).sum()
    }

    fn name_proof(&mut self, shape: &Shape, instances: &[&str]) {
        const INSTANCES: &str = "Instances";
        const POINTS: &str = "Points of the proof: x, then y";
        const SCALARS: &str =
            "Evaluations of the proof: a polynomial's value at x times a power of the root of unity";
        let first = self.stretches[0].elements();
        for (i, meaning) in instances.iter().enumerate() {
            self.name(INSTANCES, format!("I{i}"), first + WORD * i, meaning);
        }
        let names = point_names(shape);
        for stretch in self.stretches.clone() {
            for (i, point) in stretch.points.clone().enumerate() {
                let (name, meaning) = &names[point];
                self.name(POINTS, name.clone(), stretch.proof() + 2 * WORD * i, meaning);
            }
        }
        self.points = names.into_iter().map(|(name, _)| name).collect();
        let first = self.stretches[4].proof();
        for (i, (name, meaning)) in scalar_names(shape).into_iter().enumerate() {
            self.name(SCALARS, name.clone(), first + WORD * i, &meaning);
            self.scalars.push(name);
        }
    }
}

fn stretches(shape: &Shape) -> Vec<Stretch> {
    let Points {
        advice,
        permuted,
        products,
        quotient,
        opening,
    } = shape.points;
    assert_eq!(opening, 2, "SHPLONK closes a proof with two points");
    let parts: [(usize, usize, &'static [&'static str]); 7] = [
        (advice, 0, &["THETA"]),
        (permuted, 0, &["BETA", "GAMMA"]),
        (products, 0, &["Y"]),
        (quotient, 0, &["X"]),
        (0, shape.scalars, &["FOLD", "V"]),
        (1, 0, &["U"]),
        (1, 0, &["RHO"]),
    ];
    let (mut at, mut proof_at, mut point) = (START, 0, 0);
    let mut stretches = vec![];
    for (i, (points, scalars, challenges)) in parts.into_iter().enumerate() {
        let stretch = Stretch {
            at,
            instances: if i == 0 { shape.instances } else { 0 },
            proof_at,
            proof_bytes: WORD * (2 * points + scalars),
            points: point..point + points,
            challenges,
        };
        at += stretch.bytes();
        proof_at += stretch.proof_bytes;
        point += points;
        stretches.push(stretch);
    }
    stretches
}

/// Names of the proof's points, in its order.
fn point_names(shape: &Shape) -> Vec<(String, String)> {
    let mut names = vec![];
    let mut name = |name: String, meaning: String| names.push((name, meaning));
    for i in 0..shape.points.advice {
        name(format!("A{i}"), format!("advice column {i}"));
    }
    for i in 0..shape.lookups.len() {
        name(format!("L{i}_INPUT"), format!("lookup {i}: permuted input"));
        name(format!("L{i}_TABLE"), format!("lookup {i}: permuted table"));
    }
    for i in 0..shape.permutation.len() {
        name(format!("P{i}"), format!("permutation, set {i}: running product"));
    }
    for i in 0..shape.lookups.len() {
        name(format!("L{i}"), format!("lookup {i}: running product"));
    }
    name("RANDOM".to_owned(), "the random polynomial".to_owned());
    for i in 0..shape.points.quotient {
        name(format!("H{i}"), format!("piece {i} of the quotient"));
    }
    name(
        "W".to_owned(),
        "opening: the quotient of the folded sets".to_owned(),
    );
    name("W_AT_U".to_owned(), "opening: the quotient at u".to_owned());
    names
}

/// Names of the proof's scalars, in its order: the point's name with the rotation.
fn scalar_names(shape: &Shape) -> Vec<(String, String)> {
    let points = point_names(shape);
    let fixed = shape.commitments.len() - permuted_columns(shape);
    let mut names = vec![(String::new(), String::new()); shape.scalars];
    for set in &shape.sets {
        for (base, values) in &set.members {
            let (name, meaning) = match *base {
                Base::Proof(i) => points[i].clone(),
                Base::Key(i) if i < fixed => (format!("F{i}"), format!("fixed column {i}")),
                Base::Key(i) => (
                    format!("S{}", i - fixed),
                    format!("permutation of column {}", i - fixed),
                ),
                Base::Quotient => continue,
            };
            for (value, rotation) in values.iter().zip(&set.rotations) {
                let Value::Proof(place) = *value else { continue };
                let at = match rotation {
                    0 => "AT_X".to_owned(),
                    1.. => format!("NEXT_{rotation}"),
                    _ => format!("BACK_{}", -rotation),
                };
                names[place] = (format!("{name}_{at}"), format!("{meaning}, rotation {rotation}"));
            }
        }
    }
    assert!(
        names.iter().all(|(name, _)| !name.is_empty()),
        "every scalar is opened"
    );
    names
}

/// Columns of the permutation argument.
pub(super) fn permuted_columns(shape: &Shape) -> usize {
    shape.permutation.iter().map(|set| set.columns.len()).sum()
}
