//! Wrong labels.

use rand::{Rng, RngExt, seq::SliceRandom};

/// Gives a label drawn evenly from all classes to a share of the examples (the right one can come up again), as
/// random-label experiments do; returns the positions whose label is now another one.
pub fn symmetric(labels: &mut [usize], classes: usize, share: f64, rng: &mut impl Rng) -> Vec<usize> {
    let chosen = choose(labels.len(), share, rng);
    replace(labels, chosen, |_| rng.random_range(0..classes))
}

/// Moves a share of the examples to the class after their own (asymmetric, "pair flip" noise); returns their positions.
pub fn pair_flip(labels: &mut [usize], classes: usize, share: f64, rng: &mut impl Rng) -> Vec<usize> {
    let chosen = choose(labels.len(), share, rng);
    replace(labels, chosen, |label| (label + 1) % classes)
}

/// Exactly `round(share · n)` positions in rising order.
fn choose(n: usize, share: f64, rng: &mut impl Rng) -> Vec<usize> {
    let mut positions: Vec<usize> = (0..n).collect();
    positions.shuffle(rng);
    positions.truncate((share.clamp(0.0, 1.0) * n as f64).round() as usize);
    positions.sort_unstable();
    positions
}

fn replace(labels: &mut [usize], chosen: Vec<usize>, mut next: impl FnMut(usize) -> usize) -> Vec<usize> {
    let mut changed = |position: &usize| {
        let before = labels[*position];
        labels[*position] = next(before);
        labels[*position] != before
    };
    chosen.into_iter().filter(|position| changed(position)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lyceum_core::Seed;

    #[test]
    fn the_share_of_wrong_labels_is_as_asked() {
        let clean: Vec<usize> = (0..10_000).map(|i| i % 10).collect();
        let mut labels = clean.clone();
        let changed = symmetric(&mut labels, 10, 0.4, &mut Seed::new(1).stream("noise"));
        let differ: Vec<usize> = (0..labels.len()).filter(|&i| labels[i] != clean[i]).collect();
        assert_eq!(changed, differ);
        // 4,000 are drawn anew and a tenth of those keep their label: 3,600 ± 4 standard deviations (19).
        assert!((3_524..=3_676).contains(&changed.len()), "{}", changed.len());
        let mut flipped = clean.clone();
        assert_eq!(pair_flip(&mut flipped, 10, 0.25, &mut Seed::new(1).stream("noise")).len(), 2_500);
        assert!((0..clean.len()).all(|i| flipped[i] == clean[i] || flipped[i] == (clean[i] + 1) % 10));
    }
}
