//! What clients keep between rounds, exactly once, in memory or on disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use lyceum_core::{Array, Error, Result, array, atomic};

use crate::client::State;

/// A client's state, exactly once.
///
/// A reply can be lost after the client has moved on, and then client and server would disagree for ever (for FedDyn,
/// h = (1/m) Σ g_k would no longer hold). So what a client makes of a round waits until the server says which of its replies it
/// took last.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Journal {
    /// What the server knows of: the round of the reply, and the state after it.
    pub committed: Option<(u64, State)>,
    /// What the reply of a later round would make of it.
    pub pending: Option<(u64, State)>,
}

const COMMITTED: &str = "committed";
const PENDING: &str = "pending";

/// The state of a client from which the server has taken nothing.
static FIRST: State = State { arrays: BTreeMap::new() };

impl Journal {
    /// The state as the server knows it: `accepted` is the last round from which the server took this client's reply. An error if
    /// that state is not here: the client's file was lost, or is older than the server's.
    pub fn settled(&self, accepted: Option<u64>) -> Result<&State> {
        let Some(accepted) = accepted else { return Ok(&FIRST) };
        let kept = [&self.pending, &self.committed].into_iter().flatten();
        if let Some((_, state)) = kept.clone().find(|(round, _)| *round == accepted) {
            return Ok(state);
        }
        let rounds: Vec<String> = kept.map(|(round, _)| round.to_string()).collect();
        let found = if rounds.is_empty() { "none".to_owned() } else { format!("those of rounds {}", rounds.join(" and ")) };
        Err(Error::Failed(format!("its state of round {accepted} is lost (found: {found}); restore its file, or begin a new federation")))
    }

    /// Keeps or drops what is pending, and lets the outcome of this round wait in its place.
    pub fn record(&mut self, accepted: Option<u64>, round: u64, state: State) {
        if let Some((waiting, state)) = self.pending.take()
            && accepted == Some(waiting)
        {
            self.committed = Some((waiting, state));
        }
        self.pending = Some((round, state));
    }

    /// Its vectors, each named `committed/ROUND/NAME` or `pending/ROUND/NAME`. A state without vectors has one of length 0, so
    /// that its round is not lost.
    pub fn arrays(&self) -> Vec<Array> {
        let vector = |name: String, values: &Vec<f32>| Array::new(name, vec![values.len()], values.clone());
        let of = |kind: &'static str, kept: &Option<(u64, State)>| -> Vec<Array> {
            let Some((round, state)) = kept else { return Vec::new() };
            let mark = state.arrays.is_empty().then(|| vector(format!("{kind}/{round}/"), &Vec::new()));
            state.arrays.iter().map(|(name, values)| vector(format!("{kind}/{round}/{name}"), values)).chain(mark).collect()
        };
        [of(COMMITTED, &self.committed), of(PENDING, &self.pending)].concat()
    }

    /// From such vectors; `None` if one has another name.
    pub fn from_arrays(arrays: &[Array]) -> Option<Self> {
        let mut journal = Self::default();
        for Array { name, values, .. } in arrays {
            let [kind, round, name] = <[&str; 3]>::try_from(name.splitn(3, '/').collect::<Vec<_>>()).ok()?;
            let kept = match kind {
                COMMITTED => &mut journal.committed,
                PENDING => &mut journal.pending,
                _ => return None,
            };
            let state = &mut kept.get_or_insert((round.parse().ok()?, State::default())).1;
            if !name.is_empty() {
                state.arrays.insert(name.to_owned(), values.clone());
            }
        }
        Some(journal)
    }

    /// Writes it as safetensors with a checksum, whole or not at all, and waits until it is on the disk. `owner` says whose it is.
    pub fn save(&self, path: &Path, owner: &str) -> Result<()> {
        atomic::write(path, &array::encode_sealed(&self.arrays(), owner)?)
    }

    /// Reads it; empty if the file is absent. An error if it was changed, or is another's.
    pub fn load(path: &Path, owner: &str) -> Result<Self> {
        match fs::read(path) {
            Ok(bytes) => {
                let (arrays, found) = array::decode_sealed(path, &bytes)?;
                if found != owner {
                    return Err(Error::damaged(path, format!("it is the state of {found}, expected that of {owner}")));
                }
                Self::from_arrays(&arrays).ok_or_else(|| Error::damaged(path, "holds an array that is of no client's state"))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Error::io("read", path)(error)),
        }
    }

    fn bytes(&self) -> u64 {
        let of = |state: &State| state.arrays.values().map(|values| 4 * values.len() as u64).sum::<u64>();
        [&self.committed, &self.pending].into_iter().flatten().map(|(_, state)| of(state)).sum()
    }
}

/// The journals of all clients: in memory, and beyond a limit on disk.
///
/// A file is never written again: each has the round in its name, so that older checkpoints find what they refer to.
#[derive(Debug, Clone, Default)]
pub struct Journals {
    held: BTreeMap<usize, (u64, Journal)>,
    spilled: Spilled,
    limit: Option<(u64, PathBuf)>,
    /// The files of the newest checkpoint.
    checkpoint: Spilled,
}

/// Clients whose journal is in a file, and the round in its name.
pub type Spilled = BTreeMap<usize, u64>;

impl PartialEq for Journals {
    fn eq(&self, other: &Self) -> bool {
        self.held == other.held && self.spilled == other.spilled
    }
}

impl Journals {
    /// At most so many bytes in memory; the rest in files of a folder, which is made when it is needed.
    pub fn spilling(limit: u64, folder: impl Into<PathBuf>) -> Self {
        Self { limit: Some((limit, folder.into())), ..Self::default() }
    }

    /// A client's journal.
    pub fn read(&self, client: usize) -> Result<Journal> {
        match (self.held.get(&client), self.spilled.get(&client)) {
            (Some((_, journal)), _) => Ok(journal.clone()),
            (None, Some(round)) => {
                let path = self.file(client, *round);
                if path.exists() {
                    Journal::load(&path, &owner(client, *round))
                } else {
                    Err(Error::damaged(&path, "is gone, and a client's state with it"))
                }
            }
            _ => Ok(Journal::default()),
        }
    }

    /// A client's journal after a round. [`make_room`](Self::make_room) brings what is too much to the disk.
    pub fn write(&mut self, client: usize, round: u64, journal: Journal) {
        self.spilled.remove(&client);
        self.held.insert(client, (round, journal));
    }

    /// Writes journals to files, those first that were changed longest ago, until the rest is within the limit.
    pub fn make_room(&mut self) -> Result<()> {
        let Some((limit, folder)) = self.limit.clone() else { return Ok(()) };
        let mut bytes: u64 = self.held.values().map(|(_, journal)| journal.bytes()).sum();
        if bytes <= limit {
            return Ok(());
        }
        atomic::own_folder(&folder)?;
        let mut oldest: Vec<(u64, usize)> = self.held.iter().map(|(client, (round, _))| (*round, *client)).collect();
        oldest.sort_unstable();
        for (round, client) in oldest {
            if bytes <= limit {
                break;
            }
            if let Some((_, journal)) = self.held.get(&client) {
                journal.save(&self.file(client, round), &owner(client, round))?;
                bytes -= journal.bytes();
            }
            self.held.remove(&client);
            self.spilled.insert(client, round);
        }
        Ok(())
    }

    /// What is in memory, each vector named `CLIENT/ROUND/…`, and which files this checkpoint and the one before it refer to.
    pub fn save(&self) -> ([Spilled; 2], Vec<Array>) {
        let named = |(client, (round, journal)): (&usize, &(u64, Journal))| {
            let prefix = format!("{client}/{round}/");
            journal.arrays().into_iter().map(move |array| Array { name: format!("{prefix}{}", array.name), ..array })
        };
        ([self.spilled.clone(), self.checkpoint.clone()], self.held.iter().flat_map(named).collect())
    }

    /// From what [`save`](Self::save) gave, with the limit of `self`. Files of rounds that are made again are removed, and those that
    /// a process left which ended before [`checkpointed`](Self::checkpointed).
    pub fn restore(self, [spilled, before]: [Spilled; 2], arrays: &[Array]) -> Option<Self> {
        let mut parts: BTreeMap<(usize, u64), Vec<Array>> = BTreeMap::new();
        for array in arrays {
            let [client, round, name] = <[&str; 3]>::try_from(array.name.splitn(3, '/').collect::<Vec<_>>()).ok()?;
            let key = (client.parse().ok()?, round.parse().ok()?);
            parts.entry(key).or_default().push(Array { name: name.into(), ..array.clone() });
        }
        let held = parts.into_iter().map(|((client, round), arrays)| Some((client, (round, Journal::from_arrays(&arrays)?))));
        let held = held.collect::<Option<_>>()?;
        let mut journals = Self { held, spilled, checkpoint: before, ..self };
        journals.checkpointed();
        Some(journals)
    }

    /// To be called after a checkpoint with what [`save`](Self::save) gave: files that neither it nor the one before it refers to
    /// are removed.
    pub fn checkpointed(&mut self) {
        let before = std::mem::replace(&mut self.checkpoint, self.spilled.clone());
        let kept: BTreeSet<PathBuf> = self.spilled.iter().chain(&before).map(|(client, round)| self.file(*client, *round)).collect();
        let present = self.limit.iter().flat_map(|(_, folder)| fs::read_dir(folder)).flatten().flatten().map(|entry| entry.path());
        for file in present.filter(|file| !kept.contains(file)) {
            let _ = fs::remove_file(file);
        }
    }

    fn file(&self, client: usize, round: u64) -> PathBuf {
        let folder = self.limit.as_ref().map_or(Path::new(""), |(_, folder)| folder.as_path());
        folder.join(format!("{client}-{round}.safetensors"))
    }
}

/// What a file says of whose journal it is.
fn owner(client: usize, round: u64) -> String {
    format!("client {client} after round {round}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(value: f32) -> State {
        State::of("gradient", vec![value; 4])
    }

    #[test]
    fn what_the_server_took_is_kept_and_what_it_did_not_is_dropped() {
        let mut journal = Journal::default();
        journal.record(None, 0, state(1.0));
        let settled = |journal: &Journal, accepted| journal.settled(accepted).unwrap().clone();
        assert_eq!((settled(&journal, None), settled(&journal, Some(0))), (State::default(), state(1.0)));
        // The reply of round 0 was lost, that of round 3 was taken.
        journal.record(None, 3, state(2.0));
        assert_eq!((settled(&journal, None), settled(&journal, Some(3))), (State::default(), state(2.0)));
        journal.record(Some(3), 5, State::default());
        assert_eq!((settled(&journal, Some(3)), settled(&journal, Some(5))), (state(2.0), State::default()));
        // The server is ahead of what is kept here, or the file is gone.
        let lost = |journal: &Journal, accepted| journal.settled(Some(accepted)).unwrap_err().to_string();
        assert!(lost(&journal, 7).contains("round 7 is lost (found: those of rounds 5 and 3)"));
        assert!(lost(&Journal::default(), 7).contains("found: none"));
        assert_eq!(Journal::from_arrays(&journal.arrays()).unwrap(), journal);
    }

    #[test]
    fn a_journal_survives_on_disk_and_a_damaged_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.safetensors");
        assert_eq!(Journal::load(&path, "me").unwrap(), Journal::default());
        let mut journal = Journal::default();
        journal.record(None, 7, state(0.5));
        journal.save(&path, "me").unwrap();
        assert_eq!(Journal::load(&path, "me").unwrap(), journal);
        assert!(Journal::load(&path, "you").unwrap_err().to_string().contains("the state of me"));
        let whole = fs::read(&path).unwrap();
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() ^= 1;
        for bytes in [b"".to_vec(), whole[..20].to_vec(), vec![255; 64], changed] {
            fs::write(&path, bytes).unwrap();
            assert!(Journal::load(&path, "me").unwrap_err().to_string().contains("journal.safetensors"));
        }
    }

    #[test]
    fn beyond_the_limit_journals_are_files_and_two_checkpoints_find_theirs() {
        let folder = tempfile::tempdir().unwrap();
        // Room for two states of four numbers.
        let mut journals = Journals::spilling(32, folder.path());
        let mut saved = Vec::new();
        for round in 0..6_u64 {
            for client in 0..5 {
                let mut journal = journals.read(client).unwrap();
                let seen = journal.settled(round.checked_sub(1)).unwrap().arrays.get("gradient").map_or(0.0, |g| g[0]);
                assert_eq!(seen, round as f32 * 10.0 + if round > 0 { client as f32 } else { 0.0 });
                journal.record(round.checked_sub(1), round, state((round + 1) as f32 * 10.0 + client as f32));
                // The committed state is not needed here: only what waits is kept small enough to hold two.
                journal.committed = None;
                journals.write(client, round, journal);
            }
            journals.make_room().unwrap();
            assert!(journals.held.values().map(|(_, journal)| journal.bytes()).sum::<u64>() <= 32);
            saved.push((journals.save(), journals.clone()));
            journals.checkpointed();
            assert!(fs::read_dir(folder.path()).unwrap().count() <= 6);
        }
        // The newest, and the one before it should the newest be damaged.
        for ((spilled, arrays), whole) in saved.iter().rev().take(2) {
            let again = Journals::spilling(32, folder.path()).restore(spilled.clone(), arrays).unwrap();
            assert_eq!(&again, whole);
            assert!((0..5).all(|client| again.read(client).unwrap().pending.is_some()));
        }
    }

    #[test]
    fn a_process_that_ends_at_any_moment_leaves_no_files_behind() {
        let names = |folder: &Path| -> BTreeSet<_> { fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect() };
        // Three rounds of four clients; after the last the process is killed before or after it has cleared up, or goes on a while.
        let left = |moment: usize| {
            let folder = tempfile::tempdir().unwrap();
            let mut journals = Journals::spilling(16, folder.path());
            let round = |journals: &mut Journals, round: u64| {
                for client in 0..4 {
                    let mut journal = Journal::default();
                    journal.record(None, round, state(client as f32));
                    journals.write(client, round, journal);
                }
                journals.make_room().unwrap();
            };
            for number in 0..2 {
                round(&mut journals, number);
                journals.checkpointed();
            }
            round(&mut journals, 2);
            let (spilled, arrays) = journals.save();
            match moment {
                0 => journals.checkpointed(),
                1 => {}
                _ => {
                    round(&mut journals, 3);
                    fs::write(folder.path().join(".0-4.safetensors.partial"), b"half").unwrap();
                }
            }
            if moment > 0 {
                let again = Journals::spilling(16, folder.path()).restore(spilled, &arrays).unwrap();
                assert!((0..4).all(|client| again.read(client).unwrap().pending.is_some()));
            }
            names(folder.path())
        };
        let expected = left(0);
        assert_eq!(expected.len(), 6);
        assert_eq!((left(1), left(2)), (expected.clone(), expected));
    }

    #[test]
    fn a_state_that_is_gone_is_an_error_not_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut journals = Journals::spilling(0, folder.path());
        let mut journal = Journal::default();
        journal.record(None, 3, state(1.0));
        journals.write(2, 3, journal);
        journals.make_room().unwrap();
        let file = folder.path().join("2-3.safetensors");
        journals.write(1, 3, Journal::default());
        journals.write(1, 3, Journal { pending: Some((3, state(2.0))), committed: None });
        journals.make_room().unwrap();
        // Another client's file in its place is noticed too.
        fs::copy(folder.path().join("1-3.safetensors"), &file).unwrap();
        assert!(journals.read(2).unwrap_err().to_string().contains("client 1 after round 3"));
        fs::remove_file(file).unwrap();
        assert!(journals.read(2).unwrap_err().to_string().contains("2-3.safetensors"));
        assert_eq!(journals.read(0).unwrap(), Journal::default());
    }
}
