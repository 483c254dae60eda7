//! Which instructions numerical code uses: the widest that the processor has, or narrower ones if asked.
//!
//! `LYCEUM_INSTRUCTIONS=avx2` makes a processor with AVX-512 work as one with AVX2 does, `plain` as any x86-64 does. The
//! variable can only narrow; it is read once.

use std::sync::OnceLock;

/// A set of instructions, by rising width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Instructions {
    /// Those that every processor of the target has.
    Plain,
    /// AVX2 and fused multiply-add (x86-64-v3).
    Avx2,
    /// AVX-512 (x86-64-v4).
    Avx512,
}

impl Instructions {
    /// Its name in `LYCEUM_INSTRUCTIONS` and in `run.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// The widest that this processor has.
    fn widest() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let v3 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("lzcnt");
            let v4 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512cd");
            return match (v3, v4) {
                (true, true) => Self::Avx512,
                (true, false) => Self::Avx2,
                _ => Self::Plain,
            };
        }
        #[allow(unreachable_code, reason = "on other processors")]
        Self::Plain
    }
}

/// The instructions that this process uses.
#[inline]
pub fn instructions() -> Instructions {
    static CHOSEN: OnceLock<Instructions> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let wanted = std::env::var("LYCEUM_INSTRUCTIONS").unwrap_or_default();
        let all = [Instructions::Plain, Instructions::Avx2, Instructions::Avx512];
        let asked = all.into_iter().find(|instructions| instructions.name() == wanted).unwrap_or(Instructions::Avx512);
        asked.min(Instructions::widest())
    })
}
