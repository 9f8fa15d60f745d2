//! The bytes of a verifying key (section 11 of PROTOCOL.md). Numbers are big endian, 4 bytes; elements and coordinates 32.

use std::collections::HashSet;

use halo2curves::{
    bn256::{Fq, Fq2, Fr, G1Affine, G2Affine},
    ff::PrimeField,
    group::{cofactor::CofactorGroup, prime::PrimeCurveAffine},
};

use sha2::{Digest as _, Sha256};

use super::{
    key::VerifyingKey,
    program::{Node, Program, Query, Root},
    proof::{Transcript, field_from_be, proper_point},
    shape::{Parts, Shape},
};
use rules::digest::Digest;

const MAGIC: &[u8; 8] = b"ZKRPVKEY";
const VERSION: u32 = 1;
/// Most bytes of a key that is read.
pub const KEY_BYTES_MAX: usize = 4 << 20;
/// Most columns, queries, gates and lookups of a key.
const COUNT_MAX: usize = 4096;
/// Most operations of a key.
const NODES_MAX: usize = 1 << 20;

/// Why bytes are no verifying key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It does not begin as a key does.
    #[error("no verifying key: it does not begin with \"ZKRPVKEY\"")]
    Magic,
    /// It is of another version of the format.
    #[error("a verifying key of format {found}, expected {VERSION}")]
    Version {
        /// The version found.
        found: u32,
    },
    /// It ends too early.
    #[error("{part} at byte {offset}: the key ends there")]
    Ended {
        /// What was to be read.
        part: &'static str,
        /// Where.
        offset: usize,
    },
    /// More bytes follow.
    #[error("{found} bytes follow the key")]
    Trailing {
        /// How many.
        found: usize,
    },
    /// A number is not within its bounds.
    #[error("{part} at byte {offset} is {found}, expected {expected}")]
    Number {
        /// What it is.
        part: &'static str,
        /// Where it stands.
        offset: usize,
        /// Its value.
        found: i64,
        /// What it may be.
        expected: String,
    },
    /// An element or a point is not canonical, or not on the curve.
    #[error("{part} at byte {offset} is no {expected}")]
    Element {
        /// What it is.
        part: &'static str,
        /// Where it stands.
        offset: usize,
        /// What it should be.
        expected: &'static str,
    },
    /// The polynomials' operations are in no order, repeated, unread or too deep.
    #[error("the operations are not each read, different, and after what they read, at most 512 deep")]
    Operations,
    /// A list names something twice.
    #[error("{part} lists one twice")]
    Repeated {
        /// The list.
        part: &'static str,
    },
    /// A column is read nowhere, so that no proof opens it.
    #[error("{part} leave out column {column}")]
    Unread {
        /// The list that should have it.
        part: &'static str,
        /// The column.
        column: usize,
    },
}

impl VerifyingKey {
    /// Its file (section 11 of PROTOCOL.md): one sequence of bytes for each key.
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads [`Self::to_bytes`].
    ///
    /// # Errors
    /// [`KeyError`] says what is wrong and where. It takes memory in proportion to the bytes, and does not panic on any.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        decode(bytes)
    }

    /// SHA-256 of its file.
    pub fn digest(&self) -> Digest {
        Digest(Sha256::digest(self.to_bytes()).into())
    }
}

/// A key's bytes.
fn encode(key: &VerifyingKey) -> Vec<u8> {
    let shape = &key.shape;
    let permuted: Vec<Query> = shape.permuted().collect();
    let mut out = Writer(MAGIC.to_vec());
    out.number(VERSION as usize);
    out.number(match key.transcript {
        Transcript::Poseidon => 0,
        Transcript::Evm => 1,
    });
    out.g2(&key.s_g2);
    out.element(&shape.digest);
    out.number(shape.k as usize);
    out.number(shape.instances);
    out.number(shape.blinding as usize);
    out.number(shape.points.quotient);
    out.number(shape.points.advice);
    out.list(&shape.advice_queries, Writer::cell);
    out.number(shape.commitments.len() - permuted.len());
    out.list(&shape.fixed_queries, Writer::cell);
    out.list(&shape.instance_rotations, |out, rotation| out.rotation(*rotation));
    out.list(&permuted, |out, query| out.query(*query));
    out.list(shape.program.nodes(), Writer::node);
    out.list(&shape.gates, Writer::root);
    out.list(&shape.lookups, |out, lookup| {
        out.list(&lookup.inputs, Writer::root);
        lookup.table.iter().for_each(|root| out.root(root));
    });
    shape.commitments.iter().for_each(|point| out.g1(point));
    out.0
}

/// A key from its bytes.
fn decode(bytes: &[u8]) -> Result<VerifyingKey, KeyError> {
    let mut from = Reader { bytes, offset: 0 };
    if from.take("magic", MAGIC.len()).ok() != Some(MAGIC) {
        return Err(KeyError::Magic);
    }
    let found = from.u32("version")?;
    if found != VERSION {
        return Err(KeyError::Version { found });
    }
    let transcript = match from.number("transcript", 0..=1)? {
        0 => Transcript::Poseidon,
        _ => Transcript::Evm,
    };
    let s_g2 = from.g2("s·g2")?;
    let shape = Shape::of(from.parts()?);
    match from.bytes.len() - from.offset {
        0 => Ok(VerifyingKey {
            transcript,
            s_g2,
            shape,
        }),
        found => Err(KeyError::Trailing { found }),
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, number: usize) {
        let number = u32::try_from(number).expect("a circuit's sizes fit 32 bits");
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    fn rotation(&mut self, rotation: i32) {
        self.0.extend_from_slice(&rotation.to_be_bytes());
    }

    fn element<F: PrimeField<Repr = [u8; 32]>>(&mut self, element: &F) {
        self.0.extend(element.to_repr().iter().rev());
    }

    /// The identity is 64 zero bytes, which are no point of the curve.
    fn g1(&mut self, point: &G1Affine) {
        self.element(&point.x);
        self.element(&point.y);
    }

    /// As EIP-197 has it: the imaginary part of a coordinate first.
    fn g2(&mut self, point: &G2Affine) {
        for part in [point.x.c1, point.x.c0, point.y.c1, point.y.c0] {
            self.element(&part);
        }
    }

    fn list<T>(&mut self, list: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.number(list.len());
        list.iter().for_each(|item| write(self, item));
    }

    fn cell(&mut self, (column, rotation): &(usize, i32)) {
        self.number(*column);
        self.rotation(*rotation);
    }

    fn query(&mut self, query: Query) {
        let (kind, place) = match query {
            Query::Fixed(place) => (0, place),
            Query::Advice(place) => (1, place),
            Query::Instance(place) => (2, place),
        };
        self.number(kind);
        self.number(place);
    }

    fn root(&mut self, root: &Root) {
        self.number(root.0);
    }

    fn node(&mut self, node: &Node) {
        match node {
            Node::Constant(value) => {
                self.number(0);
                self.element(value);
            }
            Node::Query(query) => {
                self.number(1);
                self.query(*query);
            }
            Node::Sum(a, b) => [2, *a, *b].into_iter().for_each(|number| self.number(number)),
            Node::Product(a, b) => [3, *a, *b].into_iter().for_each(|number| self.number(number)),
            Node::Scaled(a, factor) => {
                [4, *a].into_iter().for_each(|number| self.number(number));
                self.element(factor);
            }
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

/// How many queries there are of each kind of column.
struct Queries {
    fixed: usize,
    advice: usize,
    instance: usize,
}

impl<'a> Reader<'a> {
    fn parts(&mut self) -> Result<Parts, KeyError> {
        let digest = self.element("digest")?;
        let k = self.number("k", 1..=Fr::S as usize)? as u32;
        // Rotations below half the rows are different rows.
        let rows = (1i64 << k) / 2 - 1;
        let instances = self.number("number of instances", 0..=1 << k)?;
        let blinding = self.number("number of blinding rows", 0..=rows.min(1 << 20) as usize)?;
        let quotient_pieces = self.number("number of quotient pieces", 1..=COUNT_MAX)?;
        let advice_columns = self.number("number of advice columns", 0..=COUNT_MAX)?;
        let advice_queries = self.cells("queries of advice columns", advice_columns, rows)?;
        let fixed_columns = self.number("number of fixed columns", 0..=COUNT_MAX)?;
        let fixed_queries = self.cells("queries of fixed columns", fixed_columns, rows)?;
        let instance_rotations = self.list("queries of instances", COUNT_MAX, 4, |from| {
            from.rotation("rotation", rows)
        })?;
        distinct("queries of instances", &instance_rotations)?;
        let queries = Queries {
            fixed: fixed_queries.len(),
            advice: advice_queries.len(),
            instance: instance_rotations.len(),
        };
        let columns_max = if quotient_pieces > 1 { COUNT_MAX } else { 0 };
        let permuted = self.list("permuted columns", columns_max, 8, |from| {
            let offset = from.offset;
            let query = from.query(&queries)?;
            let rotation = match query {
                Query::Fixed(place) => fixed_queries[place].1,
                Query::Advice(place) => advice_queries[place].1,
                Query::Instance(place) => instance_rotations[place],
            };
            if rotation != 0 {
                return Err(number(
                    "rotation of a permuted column",
                    offset,
                    rotation.into(),
                    "0",
                ));
            }
            Ok(query)
        })?;
        distinct("permuted columns", &permuted)?;
        let nodes = self.list("operations", NODES_MAX, 12, |from| from.node(&queries))?;
        let root = |from: &mut Self| Ok(Root(from.number("operation", 0..=NODES_MAX)?));
        let gates = self.list("gates", COUNT_MAX, 4, root)?;
        let lookups = self.list("lookups", COUNT_MAX, 12, |from| {
            let inputs = from.list("lookup's inputs", COUNT_MAX, 8, root)?;
            let table = inputs.iter().map(|_| root(from)).collect::<Result<_, _>>()?;
            Ok([inputs, table])
        })?;
        let roots = gates.iter().chain(lookups.iter().flatten().flatten());
        let program = Program::of(nodes, roots.copied()).ok_or(KeyError::Operations)?;
        let commitments = (0..fixed_columns + permuted.len())
            .map(|_| self.g1("commitment"))
            .collect::<Result<_, _>>()?;
        Ok(Parts {
            k,
            digest,
            commitments,
            instances,
            blinding: blinding as i32,
            advice_columns,
            quotient_pieces,
            advice_queries,
            fixed_queries,
            instance_rotations,
            permuted,
            program,
            gates,
            lookups,
        })
    }

    fn take(&mut self, part: &'static str, count: usize) -> Result<&'a [u8], KeyError> {
        let offset = self.offset;
        let taken = self.bytes.get(offset..offset + count);
        self.offset += count;
        taken.ok_or(KeyError::Ended { part, offset })
    }

    fn u32(&mut self, part: &'static str) -> Result<u32, KeyError> {
        let bytes = self.take(part, 4)?;
        Ok(u32::from_be_bytes(bytes.try_into().expect("4 bytes were taken")))
    }

    fn number(
        &mut self,
        part: &'static str,
        range: std::ops::RangeInclusive<usize>,
    ) -> Result<usize, KeyError> {
        let offset = self.offset;
        let found = self.u32(part)?;
        if range.contains(&(found as usize)) {
            return Ok(found as usize);
        }
        let expected = format!("{} to {}", range.start(), range.end());
        Err(number(part, offset, found.into(), &expected))
    }

    fn rotation(&mut self, part: &'static str, rows: i64) -> Result<i32, KeyError> {
        let offset = self.offset;
        let found = self.u32(part)? as i32;
        if (-rows..=rows).contains(&found.into()) {
            return Ok(found);
        }
        Err(number(
            part,
            offset,
            found.into(),
            &format!("{} to {rows}", -rows),
        ))
    }

    /// A list of items that take `bytes_min` at least.
    fn list<T>(
        &mut self,
        part: &'static str,
        count_max: usize,
        bytes_min: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, KeyError>,
    ) -> Result<Vec<T>, KeyError> {
        let there = (self.bytes.len() - self.offset.min(self.bytes.len())) / bytes_min;
        let count = self.number(part, 0..=count_max.min(there))?;
        (0..count).map(|_| read(self)).collect()
    }

    /// Queries of columns: different ones, and of every column one.
    fn cells(
        &mut self,
        part: &'static str,
        columns: usize,
        rows: i64,
    ) -> Result<Vec<(usize, i32)>, KeyError> {
        let cells = self.list(part, COUNT_MAX, 8, |from| {
            let column = from.below("column", columns)?;
            Ok((column, from.rotation("rotation", rows)?))
        })?;
        distinct(part, &cells)?;
        let read: HashSet<usize> = cells.iter().map(|(column, _)| *column).collect();
        match (0..columns).find(|column| !read.contains(column)) {
            Some(column) => Err(KeyError::Unread { part, column }),
            None => Ok(cells),
        }
    }

    fn below(&mut self, part: &'static str, bound: usize) -> Result<usize, KeyError> {
        let offset = self.offset;
        let found = self.u32(part)?;
        if (found as usize) < bound {
            return Ok(found as usize);
        }
        Err(number(part, offset, found.into(), &format!("below {bound}")))
    }

    fn query(&mut self, queries: &Queries) -> Result<Query, KeyError> {
        match self.number("kind of column", 0..=2)? {
            0 => Ok(Query::Fixed(self.below("query", queries.fixed)?)),
            1 => Ok(Query::Advice(self.below("query", queries.advice)?)),
            _ => Ok(Query::Instance(self.below("query", queries.instance)?)),
        }
    }

    fn node(&mut self, queries: &Queries) -> Result<Node, KeyError> {
        let part = "operand";
        match self.number("operation", 0..=4)? {
            0 => Ok(Node::Constant(self.element("constant")?)),
            1 => Ok(Node::Query(self.query(queries)?)),
            2 => Ok(Node::Sum(
                self.below(part, NODES_MAX)?,
                self.below(part, NODES_MAX)?,
            )),
            3 => Ok(Node::Product(
                self.below(part, NODES_MAX)?,
                self.below(part, NODES_MAX)?,
            )),
            _ => Ok(Node::Scaled(
                self.below(part, NODES_MAX)?,
                self.element("factor")?,
            )),
        }
    }

    fn element(&mut self, part: &'static str) -> Result<Fr, KeyError> {
        let offset = self.offset;
        field_from_be(self.take(part, 32)?).ok_or(KeyError::Element {
            part,
            offset,
            expected: "element below r",
        })
    }

    fn g1(&mut self, part: &'static str) -> Result<G1Affine, KeyError> {
        let offset = self.offset;
        let bytes = self.take(part, 64)?;
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(G1Affine::identity());
        }
        let (x, y) = bytes.split_at(32);
        let point = field_from_be(x).zip(field_from_be(y));
        point
            .and_then(|(x, y)| proper_point(x, y))
            .ok_or(KeyError::Element {
                part,
                offset,
                expected: "point of the curve",
            })
    }

    fn g2(&mut self, part: &'static str) -> Result<G2Affine, KeyError> {
        let offset = self.offset;
        let bytes = self.take(part, 128)?;
        let point = || {
            let part = |at: usize| field_from_be::<Fq>(&bytes[32 * at..][..32]);
            let pair = |at: usize| {
                Some(Fq2 {
                    c1: part(at)?,
                    c0: part(at + 1)?,
                })
            };
            let point = G2Affine {
                x: pair(0)?,
                y: pair(2)?,
            };
            let proper = !bool::from(point.is_identity())
                && bool::from(halo2curves::CurveAffine::is_on_curve(&point))
                && bool::from(point.to_curve().is_torsion_free());
            proper.then_some(point)
        };
        point().ok_or(KeyError::Element {
            part,
            offset,
            expected: "point of G2's subgroup of order r",
        })
    }
}

fn number(part: &'static str, offset: usize, found: i64, expected: &str) -> KeyError {
    KeyError::Number {
        part,
        offset,
        found,
        expected: expected.to_owned(),
    }
}

fn distinct<T: std::hash::Hash + Eq>(part: &'static str, list: &[T]) -> Result<(), KeyError> {
    let different: HashSet<&T> = list.iter().collect();
    if different.len() == list.len() {
        Ok(())
    } else {
        Err(KeyError::Repeated { part })
    }
}
