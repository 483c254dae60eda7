//! A region: who lives there, with whom, where they go, whom they meet. Regions are data: a TOML file each.

use std::{collections::BTreeMap, path::Path};

use lyceum_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::parameters::read;

/// Age groups of five years: 0 to 4, …, 70 to 74, 75 and more.
pub const AGE_GROUPS: usize = 16;

/// A number for each age group.
pub type ByAge = [f64; AGE_GROUPS];

/// People of age group `j` meet those of group `i`: `matrix[i][j]`.
pub type Matrix = [ByAge; AGE_GROUPS];

/// A region. `data/montreal.toml` says what each figure is and where it is from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the data files describe each figure beside it")]
pub struct Region {
    pub name: String,
    pub population: u64,
    pub ages: Ages,
    pub households: Households,
    pub schools: Schools,
    pub work: Work,
    pub outings: Outings,
    pub contacts: Contacts,
}

/// Ages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the data files describe each figure beside it")]
pub struct Ages {
    pub share: ByAge,
}

/// Who lives with whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the data files describe each figure beside it")]
pub struct Households {
    pub sizes: [f64; 5],
    pub families: [[f64; 3]; 4],
    pub multigenerational: f64,
    pub alone: ByAge,
    pub generation: u8,
    pub in_residence: ByAge,
    pub residence_size: f64,
    pub residents_per_staff: f64,
}

/// Schools of all kinds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the data files describe each figure beside it")]
pub struct Schools {
    pub kinds: Vec<School>,
}

/// A kind of school.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the data files describe each figure beside it")]
pub struct School {
    pub name: String,
    pub from: u8,
    pub to: u8,
    pub share: f64,
    pub size: f64,
    pub per_teacher: f64,
}

/// Who works where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the data files describe each figure beside it")]
pub struct Work {
    pub from: u8,
    pub to: u8,
    pub hospital_staff_per_100000: f64,
    pub health_care_from: u8,
    pub health_care_to: u8,
    pub hospitals_per_100000: f64,
    pub firms: [f64; 4],
    pub stores_per_1000: f64,
    pub venues_per_1000: f64,
    pub employees_with_customers: f64,
}

/// How often people go out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the data files describe each figure beside it")]
pub struct Outings {
    pub shopping: Vec<[f64; 2]>,
    pub meeting: Vec<[f64; 2]>,
    pub exercise: Vec<[f64; 2]>,
    pub meeting_at_home: f64,
    pub community: u32,
}

impl Outings {
    /// How often a day people do what they do every so many days.
    pub fn a_day(every: &[[f64; 2]]) -> f64 {
        every.iter().map(|[days, share]| share / days).sum::<f64>() / every.iter().map(|[_, share]| share).sum::<f64>()
    }
}

/// Whom people meet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the data files describe each figure beside it")]
pub struct Contacts {
    pub home: f64,
    pub work: f64,
    pub school: f64,
    pub other: f64,
    pub hours: Hours,
    pub unknown: f64,
    pub unknown_seconds: f64,
    pub reached: Reached,
    pub known: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_with: Option<ByAge>,
    pub matrices: Matrices,
    pub seconds: Matrix,
}

/// Shares of contacts by place.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the data files describe each figure beside it")]
pub struct Reached {
    pub home: f64,
    pub work: f64,
    pub school: f64,
    pub other: f64,
}

/// How long people can meet for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the data files describe each figure beside it")]
pub struct Hours {
    pub home: f64,
    pub work: f64,
    pub school: f64,
    pub store: f64,
    pub venue: f64,
    pub park: f64,
    pub hospital: f64,
}

/// Contact matrices by place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the data files describe each figure beside it")]
pub struct Matrices {
    pub home: Matrix,
    pub work: Matrix,
    pub school: Matrix,
    pub other: Matrix,
}

/// The regions that come with the crate.
pub const REGIONS: [(&str, &str); 2] =
    [("montreal", include_str!("../data/montreal.toml")), ("united-states", include_str!("../data/united-states.toml"))];

impl Region {
    /// A region by its name, or the path of a file; contact matrices are those of its own ages.
    pub fn load(name: &str) -> Result<Self> {
        let known: BTreeMap<&str, &str> = REGIONS.into_iter().collect();
        let region: Self = match known.get(name) {
            Some(text) => read(name, text, [])?,
            None if Path::new(name).extension().is_some_and(|end| end == "toml") => {
                let path = Path::new(name);
                let text = std::fs::read_to_string(path).map_err(Error::missing_or_io(
                    "read",
                    path,
                    "Give a region's file, or one of the known regions.",
                ))?;
                read(name, &text, [])?
            }
            None => {
                let names: Vec<&str> = known.keys().copied().collect();
                return Err(Error::invalid("region", name, format!("{}, or a file that ends in .toml", names.join(", "))));
            }
        };
        region.check()?;
        Ok(region.projected())
    }

    /// Rules for and between the fields.
    fn check(&self) -> Result<()> {
        let shares = |what: &str, values: &[f64]| {
            let sum: f64 = values.iter().sum();
            if values.iter().any(|value| !(0.0..=1.0).contains(value)) || (sum - 1.0).abs() > 0.02 {
                return Err(Error::invalid(
                    format!("{}: {what}", self.name),
                    format!("{values:?}, sum {sum}"),
                    "shares from 0 to 1 with the sum 1",
                ));
            }
            Ok(())
        };
        shares("ages.share", &self.ages.share)?;
        shares("households.sizes", &self.households.sizes)?;
        shares("households.alone", &self.households.alone)?;
        shares("work.firms", &self.work.firms)?;
        let positive = [
            ("households.residence_size", self.households.residence_size),
            ("households.residents_per_staff", self.households.residents_per_staff),
            ("work.employees_with_customers", self.work.employees_with_customers),
            ("outings.community", f64::from(self.outings.community)),
        ];
        let positive = positive.into_iter().chain(
            self.schools.kinds.iter().flat_map(|kind| [("schools.kinds.size", kind.size), ("schools.kinds.per_teacher", kind.per_teacher)]),
        );
        for (what, value) in positive {
            if value.is_nan() || value < 1.0 || value.is_infinite() {
                return Err(Error::invalid(format!("{}: {what}", self.name), value, "a number of 1 and more"));
            }
        }
        let Contacts { home, work, school, other, unknown, .. } = self.contacts;
        for (what, value) in [("home", home), ("work", work), ("school", school), ("other", other), ("unknown", unknown)] {
            if !(0.0..=100.0).contains(&value) {
                return Err(Error::invalid(format!("{}: contacts.{what}", self.name), value, "0 to 100 a day"));
            }
        }
        let Reached { home, work, school, other } = self.contacts.reached;
        if let Some(share) = [home, work, school, other, self.contacts.known].into_iter().find(|share| !(0.0..=1.0).contains(share)) {
            return Err(Error::invalid(format!("{}: contacts.reached and contacts.known", self.name), share, "shares from 0 to 1"));
        }
        let matrices = &self.contacts.matrices;
        for (what, matrix) in [
            ("matrices.home", &matrices.home),
            ("matrices.work", &matrices.work),
            ("matrices.school", &matrices.school),
            ("matrices.other", &matrices.other),
            ("seconds", &self.contacts.seconds),
        ] {
            if let Some(value) = matrix.iter().flatten().find(|value| !(value.is_finite() && **value >= 0.0)) {
                return Err(Error::invalid(format!("{}: contacts.{what}", self.name), value, "numbers of 0 and more"));
            }
        }
        for (what, every) in
            [("shopping", &self.outings.shopping), ("meeting", &self.outings.meeting), ("exercise", &self.outings.exercise)]
        {
            if every.iter().any(|[days, share]| !(*days >= 1.0 && *share >= 0.0)) || every.is_empty() {
                return Err(Error::invalid(
                    format!("{}: outings.{what}", self.name),
                    format!("{every:?}"),
                    "pairs of days (1 and more) and shares",
                ));
            }
        }
        Ok(())
    }

    /// With the matrices for the region's own ages, if they were measured with others: contacts with a group are in proportion to it
    /// (density correction, method M2 of Arregui et al. 2018), and as many from i to j as from j to i.
    fn projected(mut self) -> Self {
        let Some(measured) = self.contacts.measured_with.take() else { return self };
        let own = self.ages.share;
        let Matrices { home, work, school, other } = &mut self.contacts.matrices;
        for matrix in [home, work, school, other] {
            for (i, row) in matrix.iter_mut().enumerate() {
                row.iter_mut().for_each(|value| *value *= own[i] / measured[i]);
            }
            *matrix = reciprocal(matrix, &own);
        }
        self
    }
}

/// C_ij = (M_ij + M_ji w_i/w_j)/2, so that C_ij w_j = C_ji w_i.
fn reciprocal(matrix: &Matrix, ages: &ByAge) -> Matrix {
    std::array::from_fn(|i| std::array::from_fn(|j| 0.5 * (matrix[i][j] + matrix[j][i] * ages[i] / ages[j])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_load_and_mistakes_are_told() {
        for (name, _) in REGIONS {
            let region = Region::load(name).unwrap();
            let ages = &region.ages.share;
            for (i, j) in [(0, 6), (3, 9), (7, 12)] {
                let matrix = &region.contacts.matrices.other;
                let (there, back) = (matrix[i][j] * ages[j], matrix[j][i] * ages[i]);
                assert!((there - back).abs() < 0.02 * there.max(back), "{name}: {there} {back}");
            }
        }
        assert!(Region::load("atlantis").unwrap_err().to_string().contains("montreal"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.toml");
        std::fs::write(&path, REGIONS[0].1.replace("share = [0.057", "share = [0.557")).unwrap();
        let message = Region::load(&path.to_string_lossy()).unwrap_err().to_string();
        assert!(message.contains("ages.share"), "{message}");
        std::fs::write(&path, REGIONS[0].1.replace("known = 0.5", "knwon = 0.5")).unwrap();
        let message = Region::load(&path.to_string_lossy()).unwrap_err().to_string();
        assert!(message.contains("knwon") && message.contains("mine.toml"), "{message}");
    }

    #[test]
    fn outings_a_day() {
        assert!((Outings::a_day(&[[1.0, 0.5], [2.0, 0.5]]) - 0.75).abs() < 1e-12);
    }
}
