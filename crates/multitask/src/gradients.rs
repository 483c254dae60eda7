//! The gradients of several tasks, in groups that are combined apart.

use std::ops::Range;

use lyceum_core::{Error, Result};

/// The gradients of T tasks. They lie in segments (one for all, or one a parameter); each segment belongs to a group, and
/// every group has a Gram matrix and coefficients of its own.
#[derive(Debug, Clone)]
pub struct Gradients<'a> {
    tasks: usize,
    groups: usize,
    segments: Vec<Segment<'a>>,
}

/// A piece of every task's gradient.
#[derive(Debug, Clone)]
pub(crate) struct Segment<'a> {
    pub group: usize,
    /// One slice a task, all of one length.
    pub parts: Vec<&'a [f32]>,
}

impl<'a> Gradients<'a> {
    /// Whole gradients, one a task, as one group.
    pub fn whole(gradients: &[&'a [f32]]) -> Result<Self> {
        let n = gradients.first().map_or(0, |first| first.len());
        Self::grouped(gradients, std::slice::from_ref(&(0..n)))
    }

    /// Whole gradients, one a task, each of these ranges a group. The ranges must follow one another and cover all.
    pub fn grouped(gradients: &[&'a [f32]], groups: &[Range<usize>]) -> Result<Self> {
        let n = gradients.first().map_or(0, |first| first.len());
        let mut next = 0;
        for (group, range) in groups.iter().enumerate() {
            if range.start != next || range.end < range.start || range.end > n {
                return Err(Error::invalid(format!("group {group}"), format!("{range:?}"), format!("{next} to at most {n}")));
            }
            next = range.end;
        }
        if next != n {
            return Err(Error::invalid("groups", format!("an end at {next}"), format!("groups that cover all {n} numbers")));
        }
        let segments = groups.iter().map(|range| {
            let part = |gradient: &&'a [f32]| gradient.get(range.clone()).unwrap_or_default();
            gradients.iter().map(part).collect()
        });
        if let Some(task) = gradients.iter().position(|gradient| gradient.len() != n) {
            return Err(Error::invalid(format!("gradient of task {task}"), gradients[task].len(), format!("{n} numbers, as task 0 has")));
        }
        Self::segments(segments.collect(), &(0..groups.len()).collect::<Vec<_>>())
    }

    /// Segments, each with one slice a task, and the group of each (from 0, none left out).
    pub fn segments(segments: Vec<Vec<&'a [f32]>>, groups: &[usize]) -> Result<Self> {
        let tasks = segments.first().map_or(0, Vec::len);
        if tasks == 0 {
            return Err(Error::invalid("gradients", "none", "at least one task and one segment"));
        }
        if groups.len() != segments.len() {
            return Err(Error::invalid("groups", groups.len(), format!("one for each of {} segments", segments.len())));
        }
        for (number, parts) in segments.iter().enumerate() {
            if parts.len() != tasks {
                return Err(Error::invalid(format!("segment {number}"), format!("{} tasks", parts.len()), format!("{tasks} tasks")));
            }
            if let Some(task) = parts.iter().position(|part| part.len() != parts[0].len()) {
                let what = format!("gradient of task {task}, segment {number}");
                return Err(Error::invalid(what, parts[task].len(), format!("{} numbers, as task 0 has", parts[0].len())));
            }
        }
        let count = groups.iter().max().map_or(0, |max| max + 1);
        if let Some(missing) = (0..count.min(groups.len() + 1)).find(|group| !groups.contains(group)) {
            return Err(Error::invalid("groups", format!("no segment in group {missing}"), "groups from 0, none left out"));
        }
        let segments = segments.into_iter().zip(groups).map(|(parts, &group)| Segment { group, parts }).collect();
        Ok(Self { tasks, groups: count, segments })
    }

    /// How many tasks there are: T.
    pub fn tasks(&self) -> usize {
        self.tasks
    }

    /// How many groups there are.
    pub fn groups(&self) -> usize {
        self.groups
    }

    pub(crate) fn all(&self) -> &[Segment<'a>] {
        &self.segments
    }
}
