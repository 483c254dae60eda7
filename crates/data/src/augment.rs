//! Pictures changed at random each time they are seen.

use lyceum_core::{Violation, range};
use rand::{Rng, RngExt as _};
use rand_distr::{Beta, Distribution};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Extent;

/// How training pictures are changed, anew in every epoch. The changes are made in the order of the fields; values in \[0, 1\] stay in it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Turned about the middle by an angle from −`rotate` to `rotate` degrees.
    #[serde(skip_serializing_if = "is_zero", with = "range::NonNegative")]
    pub rotate: f64,
    /// A part is cut out and scaled to the whole: a share of the area from `zoom` to 1, its sides stretched by 3/4 to 4/3 (Szegedy et al. 2015).
    #[serde(skip_serializing_if = "Option::is_none", with = "range::OptionalPositive")]
    pub zoom: Option<f64>,
    /// Shifted by at most this many pixels in each direction; the uncovered part is black (He et al. 2016).
    #[serde(skip_serializing_if = "is_none")]
    pub crop: usize,
    /// Left and right exchanged in half of the cases.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub flip: bool,
    /// Values times a factor from 1 − `brightness` to 1 + `brightness`.
    #[serde(skip_serializing_if = "is_zero", with = "range::Fraction")]
    pub brightness: f64,
    /// The distance from the picture's mean times such a factor.
    #[serde(skip_serializing_if = "is_zero", with = "range::Fraction")]
    pub contrast: f64,
    /// The distance from grey times such a factor, of pictures with three channels.
    #[serde(skip_serializing_if = "is_zero", with = "range::Fraction")]
    pub saturation: f64,
    /// α: the pictures of a batch, and their labels, are mixed in pairs, λ of one and 1 − λ of the other, λ from Beta(α, α)
    /// (Zhang et al. 2018).
    #[serde(skip_serializing_if = "Option::is_none", with = "range::OptionalPositive")]
    pub mixup: Option<f64>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_none(value: &usize) -> bool {
    *value == 0
}

impl Augment {
    /// Rules between fields and of the pictures; `key` is the table's name in the recipe.
    pub fn check(&self, key: &str) -> Result<(), Violation> {
        let wrong = |name: &str, found: f64, allowed: &str| {
            Err(Violation::new(format!("{key}.{name}"), format!("found {found}; allowed: {allowed}")))
        };
        match (self.zoom, self.mixup) {
            (Some(zoom), _) if zoom > 1.0 => wrong("zoom", zoom, "more than 0, at most 1"),
            (_, Some(alpha)) if !(0.001..=1000.0).contains(&alpha) => wrong("mixup", alpha, "0.001 to 1000"),
            _ if self.rotate > 180.0 => wrong("rotate", self.rotate, "0 to 180"),
            _ => Ok(()),
        }
    }

    /// Errors where it does not fit pictures of this extent; `key` is the table's name in the recipe.
    pub fn check_extent(&self, key: &str, extent: Extent) -> Result<(), Violation> {
        let side = extent.height.min(extent.width);
        if self.crop < side {
            Ok(())
        } else {
            Err(Violation::new(format!("{key}.crop"), format!("found {}; allowed: less than {side}, the pictures' side", self.crop)))
        }
    }

    /// Changes a picture, `channels · height · width` numbers.
    pub fn change(&self, picture: &mut Vec<f32>, extent: Extent, rng: &mut impl Rng) {
        if self.rotate > 0.0 || self.zoom.is_some() {
            let angle = rng.random_range(-self.rotate..=self.rotate).to_radians();
            let [tall, wide] = self.zoom.map_or([1.0, 1.0], |least| {
                let (area, ratio): (f64, f64) = (rng.random_range(least..=1.0), rng.random_range(-1.0..=1.0));
                let stretch = (4.0_f64 / 3.0).powf(ratio / 2.0);
                [(area.sqrt() / stretch).min(1.0), (area.sqrt() * stretch).min(1.0)]
            });
            let mut room = |share: f64, side: usize| (1.0 - share) / 2.0 * side as f64 * rng.random_range(-1.0..=1.0);
            let shift = [room(tall, extent.height), room(wide, extent.width)];
            *picture = View { angle, scale: [tall, wide], shift }.of(picture, extent);
        }
        if self.crop > 0 {
            let mut by = || rng.random_range(-(self.crop as i64)..=self.crop as i64);
            let [dy, dx] = [by(), by()];
            *picture = moved(picture, extent, |y, x| (y + dy, x + dx));
        }
        if self.flip && rng.random::<bool>() {
            let last = extent.width as i64 - 1;
            *picture = moved(picture, extent, |y, x| (y, last - x));
        }
        let inside = picture.iter().all(|value| (0.0..=1.0).contains(value));
        let mut factor = |width: f64| 1.0 + width as f32 * rng.random_range(-1.0..=1.0_f32);
        if self.brightness > 0.0 {
            let factor = factor(self.brightness);
            picture.iter_mut().for_each(|value| *value *= factor);
        }
        if self.contrast > 0.0 {
            let (factor, mean) = (factor(self.contrast), picture.iter().sum::<f32>() / picture.len().max(1) as f32);
            picture.iter_mut().for_each(|value| *value = mean + factor * (*value - mean));
        }
        if self.saturation > 0.0 && extent.channels == 3 {
            let (factor, area) = (factor(self.saturation), extent.height * extent.width);
            for pixel in 0..area {
                // ITU-R 601-2 luma, as Pillow has it.
                let grey = 0.299 * picture[pixel] + 0.587 * picture[area + pixel] + 0.114 * picture[2 * area + pixel];
                for channel in 0..3 {
                    let value = &mut picture[channel * area + pixel];
                    *value = grey + factor * (*value - grey);
                }
            }
        }
        if inside && self.brightness + self.contrast + self.saturation > 0.0 {
            picture.iter_mut().for_each(|value| *value = value.clamp(0.0, 1.0));
        }
    }

    /// λ of a batch that is mixed: at least 1/2, since a pair and its reverse are the same.
    pub fn share(&self, rng: &mut impl Rng) -> Option<f32> {
        let share = Beta::new(self.mixup?, self.mixup?).ok()?.sample(rng) as f32;
        Some(share.max(1.0 - share))
    }
}

/// A part of a picture, turned.
#[derive(Debug, Clone, Copy)]
pub struct View {
    /// In radians, about the middle.
    pub angle: f64,
    /// The shares of height and width that are seen.
    pub scale: [f64; 2],
    /// How far its middle lies from the picture's, down and right.
    pub shift: [f64; 2],
}

impl View {
    /// What is seen, in as many pixels; each is interpolated between the four around where it comes from, with 0 outside.
    pub fn of(self, picture: &[f32], extent: Extent) -> Vec<f32> {
        let (height, width) = (extent.height, extent.width);
        let (sin, cos) = self.angle.sin_cos();
        let (cy, cx) = ((height - 1) as f64 / 2.0, (width - 1) as f64 / 2.0);
        let mut seen = Vec::with_capacity(picture.len());
        for plane in picture.chunks(height * width) {
            let pixel = |y: i64, x: i64| {
                let inside = (0..height as i64).contains(&y) && (0..width as i64).contains(&x);
                if inside { f64::from(plane[y as usize * width + x as usize]) } else { 0.0 }
            };
            for y in 0..height {
                for x in 0..width {
                    let (dy, dx) = (self.scale[0] * (y as f64 - cy) + self.shift[0], self.scale[1] * (x as f64 - cx) + self.shift[1]);
                    let (sy, sx) = (cy + cos * dy - sin * dx, cx + sin * dy + cos * dx);
                    let (fy, fx) = (sy - sy.floor(), sx - sx.floor());
                    let (iy, ix) = (sy.floor() as i64, sx.floor() as i64);
                    let top = (1.0 - fx) * pixel(iy, ix) + fx * pixel(iy, ix + 1);
                    let bottom = (1.0 - fx) * pixel(iy + 1, ix) + fx * pixel(iy + 1, ix + 1);
                    seen.push(((1.0 - fy) * top + fy * bottom) as f32);
                }
            }
        }
        seen
    }
}

/// Each pixel from where `from` says, 0 outside.
fn moved(picture: &[f32], extent: Extent, from: impl Fn(i64, i64) -> (i64, i64)) -> Vec<f32> {
    let (height, width) = (extent.height as i64, extent.width as i64);
    let mut found = Vec::with_capacity(picture.len());
    for plane in picture.chunks(extent.height * extent.width) {
        for y in 0..height {
            for x in 0..width {
                let (y, x) = from(y, x);
                let inside = (0..height).contains(&y) && (0..width).contains(&x);
                found.push(if inside { plane[(y * width + x) as usize] } else { 0.0 });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use lyceum_core::Seed;

    const EXTENT: Extent = Extent { channels: 3, height: 4, width: 5 };

    fn picture() -> Vec<f32> {
        (0..EXTENT.len()).map(|place| place as f32 / EXTENT.len() as f32).collect()
    }

    fn changed(augment: &Augment, seed: u64) -> Vec<f32> {
        let mut found = picture();
        augment.change(&mut found, EXTENT, &mut Seed::new(seed).stream("augment"));
        found
    }

    #[test]
    fn nothing_asked_nothing_changed() {
        assert_eq!(changed(&Augment::default(), 1), picture());
        let still = View { angle: 0.0, scale: [1.0; 2], shift: [0.0; 2] }.of(&picture(), EXTENT);
        assert_eq!(still, picture());
        assert_eq!(Augment::default().share(&mut Seed::new(1).stream("x")), None);
    }

    #[test]
    fn flips_and_shifts_move_whole_pixels() {
        let flipped: Vec<f32> = picture().chunks(5).flat_map(|row| row.iter().rev().copied().collect::<Vec<_>>()).collect();
        let found: Vec<Vec<f32>> = (0..40).map(|seed| changed(&Augment { flip: true, ..Augment::default() }, seed)).collect();
        assert!(found.iter().all(|one| *one == picture() || *one == flipped));
        let count = found.iter().filter(|one| **one == flipped).count();
        assert!((8..33).contains(&count), "{count}");
        let mut shifts = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let found = changed(&Augment { crop: 1, ..Augment::default() }, seed);
            let fits = (-1..=1)
                .flat_map(|dy| (-1..=1).map(move |dx| (dy, dx)))
                .find(|&(dy, dx)| found == moved(&picture(), EXTENT, |y, x| (y + dy, x + dx)));
            shifts.insert(fits.expect("a shift by whole pixels"));
        }
        assert_eq!(shifts.len(), 9);
    }

    #[test]
    fn views_turn_and_magnify() {
        let square = Extent { channels: 1, height: 3, width: 3 };
        let picture: Vec<f32> = (1..=9).map(|value| value as f32).collect();
        let quarter = View { angle: std::f64::consts::FRAC_PI_2, scale: [1.0; 2], shift: [0.0; 2] }.of(&picture, square);
        let expected = [7.0, 4.0, 1.0, 8.0, 5.0, 2.0, 9.0, 6.0, 3.0_f32];
        let turned_back: Vec<f32> = expected.iter().rev().copied().collect();
        let near = |other: &[f32]| quarter.iter().zip(other).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(near(&expected) || near(&turned_back), "{quarter:?}");
        let half = View { angle: 0.0, scale: [0.5; 2], shift: [0.0; 2] }.of(&picture, square);
        assert_eq!(half, [3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0]);
    }

    #[test]
    fn colours_stay_colours() {
        let all = Augment { brightness: 0.5, contrast: 0.5, saturation: 1.0, rotate: 30.0, zoom: Some(0.3), ..Augment::default() };
        for seed in 0..50 {
            let found = changed(&all, seed);
            assert!(found.len() == EXTENT.len() && found.iter().all(|value| (0.0..=1.0).contains(value)));
            assert_eq!(found, changed(&all, seed));
        }
        assert!(Augment { zoom: Some(1.5), ..Augment::default() }.check("augment").is_err());
        let shares: Vec<f32> = (0..400)
            .filter_map(|seed| Augment { mixup: Some(1.0), ..Augment::default() }.share(&mut Seed::new(seed).stream("x")))
            .collect();
        let mean = shares.iter().sum::<f32>() / 400.0;
        assert!((mean - 0.75).abs() < 0.03, "max(λ, 1 − λ) of an even λ is 3/4 on average: {mean}");
    }
}
