//! The layout of a shard. Groups with room for an operation of the queue take equal rows, and so do those without: all
//! but the first of each are laid out side by side, and only the streams are threaded through them one by one.

use super::available_rows;
use super::context::Context;
use super::raw::RawGroup;
use super::sheet::{Sheet, Var};
use super::stream::Running;
use super::stream::{Group, Powers, Streams};
use super::{ShardCircuitError, ShardParams};
use rayon::prelude::*;
use rules::Fr;
use rules::statement::{AFTER, BEFORE};
use rules::stream::GROUP_WORDS;

/// Rows that a group takes at most, in any column.
const GROUP_ROWS: usize = 25_000;
/// Groups that a thread may lay out before they are appended: enough for every thread to have its share to the end.
const GROUPS_PER_THREAD: usize = 2;

/// Lays out a shard from its first ten instances and its groups; the running state after follows from them.
pub(super) fn lay_out(
    params: ShardParams,
    instances: &[Fr],
    groups: &[RawGroup],
) -> Result<Sheet, ShardCircuitError> {
    let mut sheet = Sheet::new((1 << params.k) + GROUP_ROWS);
    sheet.label("P-7.3: instances");
    let given: Vec<Var> = instances
        .iter()
        .enumerate()
        .map(|(row, value)| {
            let cell = sheet.witness(*value);
            sheet.equal_instance(cell, row);
            cell
        })
        .collect();
    let context = Context {
        rollup_id: given[0],
        time: given[1],
    };
    let powers = sheet.powers(given[2]);
    let running = |at: usize| Running {
        c: given[at],
        y: given[at + 1],
        p: given[at + 2],
    };
    let mut layout = Layout {
        params,
        available: available_rows(params.k),
        sheet,
        context,
        powers,
        root: given[BEFORE],
        streams: Streams {
            a: running(BEFORE + 1),
            b: running(BEFORE + 4),
        },
    };
    let (with_room, without) = groups.split_at(params.shape.rooms);
    layout.run(with_room)?;
    layout.run(without)?;
    layout.finish()
}

/// A shard that is laid out up to some group.
struct Layout {
    params: ShardParams,
    available: usize,
    sheet: Sheet,
    context: Context,
    powers: Powers,
    root: Var,
    streams: Streams,
}

impl Layout {
    /// Lays out groups that take equal rows.
    fn run(&mut self, groups: &[RawGroup]) -> Result<(), ShardCircuitError> {
        let Some((first, rest)) = groups.split_first() else {
            return Ok(());
        };
        let begin = (self.sheet.lane_row, self.sheet.z_row);
        let group = self.sheet.lay_out_group(self.context, self.root, first);
        let (first_root, operations) = (group.root, self.sheet.z_row - begin.1);
        self.take_in(&group);
        let (lanes, z) = (self.sheet.lane_row - begin.0, self.sheet.z_row - begin.1);
        self.check_rows((begin.0 + groups.len() * lanes).max(begin.1 + groups.len() * z))?;

        // A few groups for each thread at a time: their cells are there twice until they are appended.
        let at_once = GROUPS_PER_THREAD * rayon::current_num_threads();
        for (round, groups) in rest.chunks(at_once).enumerate() {
            let parts: Vec<(Sheet, Group)> = groups
                .par_iter()
                .enumerate()
                .map(|(at, raw)| {
                    let before = round * at_once + at;
                    // Where the group before leaves its root; only the cell is used.
                    let mut root = first_root;
                    root.cell.row += before * lanes;
                    let (lane_row, z_row) = (begin.0 + (before + 1) * lanes, begin.1 + (before + 1) * z);
                    let mut part = self.sheet.part(lane_row, z_row, lanes.max(operations));
                    let group = part.lay_out_group(self.context, root, raw);
                    (part, group)
                })
                .collect();
            for (part, group) in parts {
                self.sheet.append(part);
                self.take_in(&group);
            }
        }
        Ok(())
    }

    /// Threads the streams through the group that was laid out last.
    fn take_in(&mut self, group: &Group) {
        self.streams = self.sheet.streams(&self.powers, group, self.streams);
        self.root = group.root;
    }

    fn finish(mut self) -> Result<Sheet, ShardCircuitError> {
        self.sheet.label("P-7.3: running state after");
        let Streams { a, b } = self.streams;
        for (i, var) in [self.root, a.c, a.y, a.p, b.c, b.y, b.p].into_iter().enumerate() {
            // The copy gives `z` a cell of its own, so that an output of the lanes meets the instance column there.
            let cell = self.sheet.put(var.into());
            self.sheet.equal_instance(cell, AFTER + i);
        }
        self.check_rows(self.sheet.lane_row.max(self.sheet.z_row))?;
        for column in self.sheet.advice.iter_mut().chain(&mut self.sheet.fixed) {
            column.truncate(1 << self.params.k);
        }
        Ok(self.sheet)
    }

    fn check_rows(&self, needed: usize) -> Result<(), ShardCircuitError> {
        match needed <= self.available {
            true => Ok(()),
            false => Err(ShardCircuitError::Rows {
                shape: self.params.shape,
                needed,
                k: self.params.k,
                available: self.available,
            }),
        }
    }
}

impl Sheet {
    /// Lays out a group from `root`: the room before it if it has one, then its places (P-6.7).
    fn lay_out_group(&mut self, context: Context, root: Var, raw: &RawGroup) -> Group {
        let mut root = root.cell;
        let mut words = Vec::with_capacity(GROUP_WORDS);
        let mut records = Vec::with_capacity(GROUP_WORDS);
        let mut flag = None;
        if let Some(room) = &raw.room {
            let (after, record) = self.room(root, room);
            root = after.cell;
            flag = Some(record.counts);
            records.push(record);
        }
        let mut last = None;
        for (at, raw) in raw.places.iter().enumerate() {
            let place = self.place(context, root, raw, at + 1 < GROUP_WORDS);
            root = place.root.cell;
            words.push(place.word);
            records.extend(place.record);
            last = Some((place.root, place.block));
        }
        let (root, block) = last.expect("a group has places");
        Group {
            root,
            flag,
            words,
            records,
            block,
        }
    }
}
