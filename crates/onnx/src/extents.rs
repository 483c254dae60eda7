//! What a node says of extents and axes, for whoever evaluates it and whoever takes it into a network.

use crate::{Node, Tensor, tensor::Fit};

/// The place of an axis that may be counted from the end.
///
/// # Errors
///
/// In words, as everywhere here: an axis that there is not.
pub fn axis(number: i64, rank: usize) -> Fit<usize> {
    let place = if number < 0 { number.saturating_add(rank as i64) } else { number };
    usize::try_from(place).ok().filter(|place| *place < rank).ok_or_else(|| format!("axis {number} of {rank}"))
}

/// The order of axes that Transpose gives.
///
/// # Errors
///
/// What is no order of all axes.
pub fn order(node: &Node, rank: usize) -> Fit<Vec<usize>> {
    let Some(order) = node.ints("perm") else { return Ok((0..rank).rev().collect()) };
    let order: Vec<usize> = order.iter().map(|number| axis(*number, rank)).collect::<Fit<_>>()?;
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if sorted == (0..rank).collect::<Vec<_>>() { Ok(order) } else { Err(format!("an order {order:?} of {rank} axes")) }
}

/// What Shape gives of a value of these extents.
pub fn shape(node: &Node, dims: &[usize]) -> Tensor {
    let rank = dims.len() as i64;
    let place = |number: i64| (if number < 0 { number.saturating_add(rank) } else { number }).clamp(0, rank) as usize;
    let part = dims.get(place(node.int("start", 0))..place(node.int("end", rank))).unwrap_or_default();
    Tensor::ints(part.iter().map(|dim| *dim as i64).collect())
}

/// The extents that Reshape, Flatten, Squeeze and Unsqueeze give; `given` is what the node reads besides the value, or its attribute.
///
/// # Errors
///
/// Extents of another number of numbers, and axes that there are not, or that are not 1.
pub fn reshaped(node: &Node, dims: &[usize], given: Option<&[i64]>) -> Fit<Vec<usize>> {
    let rank = dims.len();
    let axes = |rank: usize| given.map(|axes| axes.iter().map(|number| axis(*number, rank)).collect::<Fit<Vec<usize>>>()).transpose();
    let found = match node.op.as_str() {
        "Flatten" => {
            // Behind the last axis is a place too.
            let place = match node.int("axis", 1) {
                number if number == rank as i64 => rank,
                number => axis(number, rank)?,
            };
            vec![dims[..place].iter().product(), dims[place..].iter().product()]
        }
        "Squeeze" => {
            let axes = axes(rank)?;
            if let Some(place) = axes.iter().flatten().find(|place| dims[**place] != 1) {
                return Err(format!("axis {place} of {dims:?} is not 1"));
            }
            let gone = |place: usize| axes.as_ref().map_or(dims[place] == 1, |axes| axes.contains(&place));
            (0..rank).filter(|place| !gone(*place)).map(|place| dims[place]).collect()
        }
        "Unsqueeze" => {
            let rank = rank + given.map_or(0, <[i64]>::len);
            let axes = axes(rank)?.ok_or("axes are left out")?;
            let mut rest = dims.iter();
            (0..rank).map(|place| if axes.contains(&place) { 1 } else { rest.next().copied().unwrap_or(1) }).collect()
        }
        _ => resolved(node, dims, given.ok_or("the new extents are left out")?)?,
    };
    // Extents of a file may be any numbers.
    let len = |dims: &[usize]| dims.iter().try_fold(1_usize, |product, dim| product.checked_mul(*dim));
    if len(&found).is_some() && len(&found) == len(dims) { Ok(found) } else { Err(format!("{dims:?} as {found:?}")) }
}

/// The extents that Reshape gives: 0 stands for what there was, −1 for what is left.
fn resolved(node: &Node, dims: &[usize], wanted: &[i64]) -> Fit<Vec<usize>> {
    let wrong = || format!("{dims:?} as {wanted:?}");
    let keeps = node.int("allowzero", 0) == 0;
    let (mut found, mut open) = (Vec::new(), None);
    for (place, want) in wanted.iter().enumerate() {
        found.push(match *want {
            0 if keeps => *dims.get(place).ok_or_else(wrong)?,
            -1 if open.is_none() => {
                open = Some(place);
                1
            }
            want => usize::try_from(want).map_err(|_| wrong())?,
        });
    }
    if let Some(place) = open {
        let known = found.iter().try_fold(1_usize, |product, dim| product.checked_mul(*dim)).ok_or_else(wrong)?;
        let len: usize = dims.iter().product();
        if known == 0 || !len.is_multiple_of(known) {
            return Err(wrong());
        }
        found[place] = len / known;
    }
    Ok(found)
}

/// How long the parts are that Split makes of an axis; `given` is what the node reads besides the value, or its attribute.
///
/// # Errors
///
/// Parts that are not the whole.
pub fn parts(node: &Node, extent: usize, given: Option<&[i64]>) -> Fit<Vec<usize>> {
    let count = node.outputs.len().max(1);
    let each = extent.div_ceil(count);
    let equal = || (0..count).map(|part| Some(each.min(extent.saturating_sub(part * each)))).collect();
    let fits = |size: &i64| usize::try_from(*size).ok().filter(|size| *size <= extent);
    let sizes: Option<Vec<usize>> = given.map_or_else(equal, |sizes| sizes.iter().map(fits).collect());
    sizes
        .filter(|sizes| sizes.len() == count && sizes.iter().sum::<usize>() == extent)
        .ok_or_else(|| format!("{extent} in parts of {given:?}"))
}
