//! Splits and permutations.

use rand::{Rng, seq::SliceRandom};

/// Splits `0..n` at random into parts with these shares (which sum to at most 1; what is left over is left out).
pub fn random(n: usize, shares: &[f64], rng: &mut impl Rng) -> Vec<Vec<usize>> {
    let mut positions: Vec<usize> = (0..n).collect();
    positions.shuffle(rng);
    cut(&positions, shares)
}

/// Splits positions at random so that each part has the classes in the same proportions (to within one a class).
pub fn stratified(labels: &[usize], shares: &[f64], rng: &mut impl Rng) -> Vec<Vec<usize>> {
    let classes = labels.iter().max().map_or(0, |max| max + 1);
    let mut groups = vec![Vec::new(); classes];
    labels.iter().enumerate().for_each(|(position, &label)| groups[label].push(position));
    // Classes are laid one after the other and every k-th is taken, which spreads rounding evenly over the parts.
    groups.iter_mut().for_each(|group| group.shuffle(rng));
    let order: Vec<usize> = groups.concat();
    let total = order.len();
    let mut parts = vec![Vec::new(); shares.len()];
    let mut given = vec![0_usize; shares.len()];
    for (done, &position) in order.iter().enumerate() {
        let deficit = |part: &usize| shares[*part] * (done + 1) as f64 - given[*part] as f64;
        let neediest = (0..shares.len()).max_by(|a, b| deficit(a).total_cmp(&deficit(b)));
        let left_over = (1.0 - shares.iter().sum::<f64>()) * (done + 1) as f64 - (done - given.iter().sum::<usize>()) as f64;
        if let Some(part) = neediest.filter(|part| deficit(part) >= left_over || left_over < 1e-9 * total as f64) {
            parts[part].push(position);
            given[part] += 1;
        }
    }
    parts.iter_mut().for_each(|part| part.shuffle(rng));
    parts
}

/// Splits positions at random so that no group is in two parts; parts have these shares as nearly as whole groups can.
pub fn of_groups(groups: &[usize], shares: &[f64], rng: &mut impl Rng) -> Vec<Vec<usize>> {
    let mut members = vec![Vec::new(); groups.iter().max().map_or(0, |max| max + 1)];
    groups.iter().enumerate().for_each(|(position, &group)| members[group].push(position));
    // The largest groups first, each to the part that lacks most.
    members.shuffle(rng);
    members.sort_by_key(|members| std::cmp::Reverse(members.len()));
    let mut parts: Vec<Vec<usize>> = vec![Vec::new(); shares.len()];
    for members in members {
        let lack = |part: usize| shares[part] * groups.len() as f64 - parts[part].len() as f64;
        if let Some(part) = (0..shares.len()).max_by(|a, b| lack(*a).total_cmp(&lack(*b))) {
            parts[part].extend(members);
        }
    }
    parts.iter_mut().for_each(|part| part.shuffle(rng));
    parts
}

/// A random order of `0..n`, for example of pixels.
pub fn permutation(n: usize, rng: &mut impl Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(rng);
    order
}

fn cut(positions: &[usize], shares: &[f64]) -> Vec<Vec<usize>> {
    let n = positions.len() as f64;
    let mut before = 0.0;
    let bound = |share: f64| ((share * n).round() as usize).min(positions.len());
    let parts = shares.iter().map(|share| {
        let start = bound(before);
        before += share;
        positions[start..bound(before).max(start)].to_vec()
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lyceum_core::Seed;
    use proptest::prelude::*;

    fn disjoint(parts: &[Vec<usize>], n: usize) -> bool {
        let mut all = parts.concat();
        all.sort_unstable();
        all.windows(2).all(|pair| pair[0] < pair[1]) && all.iter().all(|&position| position < n)
    }

    proptest! {
        #[test]
        fn groups_stay_whole(groups in proptest::collection::vec(0_usize..12, 0..80), seed: u64) {
            let parts = of_groups(&groups, &[0.2, 0.3, 0.5], &mut Seed::new(seed).stream("groups"));
            let mut all = parts.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..groups.len()).collect::<Vec<_>>());
            for group in 0..12 {
                let with = parts.iter().filter(|part| part.iter().any(|&row| groups[row] == group)).count();
                prop_assert!(with <= 1);
            }
        }

        #[test]
        fn parts_are_disjoint_and_of_the_asked_size(seed: u64, n in 0_usize..300, a in 0.0..0.5_f64, b in 0.0..0.5_f64) {
            let labels: Vec<usize> = (0..n).map(|i| i % 3).collect();
            for parts in [random(n, &[a, b], &mut Seed::new(seed).stream("x")), stratified(&labels, &[a, b], &mut Seed::new(seed).stream("x"))] {
                prop_assert!(disjoint(&parts, n));
                for (part, share) in parts.iter().zip([a, b]) {
                    prop_assert!((part.len() as f64 - share * n as f64).abs() <= 1.5, "{} of {n} at {share}", part.len());
                }
            }
        }
    }

    #[test]
    fn a_stratified_split_keeps_the_proportions() {
        let labels: Vec<usize> = (0..1000).map(|i| usize::from(i % 10 == 0)).collect();
        for part in stratified(&labels, &[0.7, 0.3], &mut Seed::new(2).stream("x")) {
            let rare = part.iter().filter(|&&position| labels[position] == 1).count();
            assert!((rare as f64 - part.len() as f64 * 0.1).abs() <= 1.0);
        }
    }
}
