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

                let wide = is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq");
                if wide {
                    // SAFETY: this processor has the instructions.
                    return unsafe { avx512($($argument),*) };
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: this processor has the instructions.
                    return unsafe { avx2($($argument),*) };
                }
            }
            body($($argument),*)
        }
    };
}
