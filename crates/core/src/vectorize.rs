//! Plain loops, compiled once for each instruction set and chosen at run time.

/// Defines a function whose body is compiled for AVX-512, for AVX2 and for any processor of the target.
///
/// The compiler turns the body's loops into the widest instructions it may use. No operations are fused, so all
/// versions give the same bits.
///
/// ```
/// lyceum_core::vectorize! {
///     /// Σ x, by sixteen running sums.
///     fn sum(x: &[f32]) -> f32 {
///         let mut sums = [0.0_f32; 16];
///         x.chunks(16).for_each(|chunk| sums.iter_mut().zip(chunk).for_each(|(sum, x)| *sum += x));
///         sums.iter().sum()
///     }
/// }
/// assert_eq!(sum(&[1.0; 100]), 100.0);
/// ```
#[macro_export]
macro_rules! vectorize {
    ($(#[$meta:meta])* $visibility:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $visibility fn $name($($argument: $type),*) $(-> $result)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn body($($argument: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx512($($argument: $type),*) $(-> $result)? {
                    body($($argument),*)
                }

                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx2($($argument: $type),*) $(-> $result)? {
                    body($($argument),*)
                }

                match $crate::instructions::instructions() {
                    // SAFETY: this processor has the instructions.
                    $crate::instructions::Instructions::Avx512 => return unsafe { avx512($($argument),*) },
                    // SAFETY: this processor has the instructions.
                    $crate::instructions::Instructions::Avx2 => return unsafe { avx2($($argument),*) },
                    $crate::instructions::Instructions::Plain => {}
                }
            }
            body($($argument),*)
        }
    };
}
