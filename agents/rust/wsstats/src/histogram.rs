//! Histograms as OTLP has them.

/// The scale that a histogram begins with: eight buckets for each doubling, so a value is
/// known to about 9 %. Powers of two, which are the bounds of sizes and counts in the
/// receiver, are bounds at every scale from 0 on.
const SCALE: u32 = 3;
/// How many buckets it has at most (a receiver takes 320): at the first scale from above 1 B
/// to 1 MiB, or 1 µs to 1 s. A wider range has a lower scale.
const MAX_BUCKETS: usize = 160;

const MANTISSA_BITS: u32 = 52;

/// The mantissas of 2^(i/8), rounded down: a mantissa is above the bound if and only if it is
/// greater.
const SUB_BOUNDS: [u64; 1 << SCALE] = [
    0,
    0x1_72b8_3c7d_517a,
    0x3_06fe_0a31_b715,
    0x4_bfda_d536_2a27,
    0x6_a09e_667f_3bcc,
    0x8_ace5_422a_a0db,
    0xa_e89f_995a_d3ad,
    0xd_5818_dcfb_a487,
];

/// A base-2 exponential histogram with the meaning that OTLP gives its fields: bucket i of
/// scale s is (2^(i/2^s), 2^((i+1)/2^s)].
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    pub(crate) count: u64,
    pub(crate) r#unsized: u64, // of zero, of values that are not known
    pub(crate) sum: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) zero: u64,
    pub(crate) scale: i32,
    pub(crate) offset: i32,       // index of the first bucket
    pub(crate) buckets: Vec<u64>, // at most MAX_BUCKETS
}

impl Histogram {
    /// Adds n observations of v, which is finite and not negative, or not known. It allocates
    /// only where a value is out of the range of those before it.
    pub(crate) fn observe(&mut self, v: Option<f64>, n: u64) {
        let Some(v) = v else {
            self.count += n;
            self.zero += n;
            self.r#unsized += n;
            return;
        };
        if !self.has_values() {
            (self.min, self.max, self.scale) = (v, v, SCALE as i32);
        } else {
            (self.min, self.max) = (self.min.min(v), self.max.max(v));
        }
        self.count += n;
        self.sum = (self.sum + v * n as f64).min(f64::MAX);
        if v == 0.0 {
            self.zero += n;
        } else {
            self.put(bucket_index(v) >> (SCALE as i32 - self.scale), n);
        }
    }

    /// Whether any value is known.
    pub(crate) fn has_values(&self) -> bool {
        self.count > self.r#unsized
    }

    /// Adds to the bucket of that index at the present scale, and lowers the scale where
    /// there would be too many.
    fn put(&mut self, mut index: i32, n: u64) {
        if self.buckets.is_empty() {
            self.offset = index;
        }
        let (mut low, mut high) = (self.offset.min(index), (self.offset + self.len() - 1).max(index));
        while high - low >= MAX_BUCKETS as i32 {
            (low, high, index) = (low >> 1, high >> 1, index >> 1);
            self.halve();
        }
        if index < self.offset {
            let missing = (self.offset - index) as usize;
            self.extend(self.buckets.len() + missing);
            self.buckets.rotate_right(missing);
            self.offset = index;
        }
        let at = (index - self.offset) as usize;
        if at >= self.buckets.len() {
            self.extend(at + 1);
        }
        if let Some(bucket) = self.buckets.get_mut(at) {
            *bucket += n;
        }
    }

    fn len(&self) -> i32 {
        self.buckets.len() as i32
    }

    /// Adds empty buckets at the end.
    fn extend(&mut self, n: usize) {
        if n > self.buckets.capacity() {
            let room = (2 * n).clamp(16, MAX_BUCKETS.max(n));
            self.buckets.reserve_exact(room - self.buckets.len());
        }
        self.buckets.resize(n, 0);
    }

    /// Lowers the scale by one: two buckets become one.
    fn halve(&mut self) {
        self.scale -= 1;
        let (offset, mut used) = (self.offset >> 1, 0);
        for i in 0..self.buckets.len() {
            let at = (((self.offset + i as i32) >> 1) - offset) as usize;
            let n = self.buckets.get_mut(i).map_or(0, std::mem::take);
            if let Some(bucket) = self.buckets.get_mut(at) {
                *bucket += n;
            }
            used = at + 1;
        }
        self.offset = offset;
        self.buckets.truncate(used);
    }

    /// Empties the histogram and keeps its memory.
    pub(crate) fn reset(&mut self) {
        let mut buckets = std::mem::take(&mut self.buckets);
        buckets.clear();
        *self = Histogram { buckets, ..Histogram::default() };
    }
}

/// The index at the first scale of the bucket of v, which is positive and finite.
fn bucket_index(v: f64) -> i32 {
    let bits = v.to_bits();
    let octave = (bits >> MANTISSA_BITS) as i32 - 1023;
    let mantissa = bits & ((1 << MANTISSA_BITS) - 1);
    if mantissa == 0 {
        return (octave << SCALE) - 1; // a power of two is an upper bound
    }
    // 2^x lies below the line from 1 to 2, by less than one bucket.
    let sub = (mantissa >> (MANTISSA_BITS - SCALE)) as usize;
    let above = SUB_BOUNDS.get(sub + 1).is_some_and(|bound| mantissa > *bound);
    (octave << SCALE) + sub as i32 + i32::from(above)
}

#[cfg(test)]
mod tests {
    use super::{Histogram, MAX_BUCKETS, SCALE, bucket_index};

    /// Red when: a value is not in the bucket that OTLP has for it, powers of two below their
    /// upper bound.
    #[test]
    fn bucket_indices() {
        for power in -30..=62 {
            let v = 2_f64.powi(power);
            assert_eq!(bucket_index(v), (power << SCALE) - 1, "2^{power}");
            assert_eq!(bucket_index(v.next_up()), power << SCALE, "above 2^{power}");
            assert_eq!(bucket_index(v.next_down()), (power << SCALE) - 1, "below 2^{power}");
        }
        for _ in 0..10_000 {
            let v = (rand::random::<f64>() * 80.0 - 40.0).exp();
            assert_eq!(bucket_index(v), (v.log2() * 8.0).ceil() as i32 - 1, "{v}");
        }
    }

    /// Red when: a lower scale or an earlier first bucket loses or moves a count, or a value
    /// that is not known is among the extremes.
    #[test]
    fn histograms_hold_what_they_were_given() {
        let mut falling = 1e18;
        type Shape = Box<dyn FnMut() -> f64>;
        let mut shapes: [(&str, Shape); 5] = [
            ("sizes", Box::new(|| f64::from(rand::random_range(0..1_u32 << rand::random_range(1..20))))),
            (
                "falling",
                Box::new(move || {
                    falling /= 1.7;
                    falling
                }),
            ),
            ("one", Box::new(|| 128.0)),
            ("zero", Box::new(|| 0.0)),
            ("extremes", Box::new(|| f64::from(rand::random_range(-1000..1000_i32)).exp2())),
        ];
        for (name, shape) in &mut shapes {
            let mut h = Histogram::default();
            for _ in 0..2 {
                // The second time in the memory of the first.
                let mut values = Vec::new();
                h.observe(None, 2);
                assert!(!h.has_values());
                for _ in 0..200 {
                    let (v, n) = (shape(), rand::random_range(1..4));
                    h.observe(Some(v), n);
                    values.extend((0..n).map(|_| v));
                }
                h.observe(None, 1);
                holds(&h, &values, 3);
                assert!(h.buckets.len() <= MAX_BUCKETS);
                assert!(*name != "sizes" || h.scale == SCALE as i32, "of a usual range");
                h.reset();
                assert_eq!(h.count, 0);
            }
        }
    }

    fn holds(h: &Histogram, values: &[f64], unknown: u64) {
        assert_eq!((h.count, h.r#unsized), (values.len() as u64 + unknown, unknown));
        assert_eq!(h.zero, values.iter().filter(|v| **v == 0.0).count() as u64 + unknown);
        assert_eq!(h.min, values.iter().copied().fold(f64::INFINITY, f64::min));
        assert_eq!(h.max, values.iter().copied().fold(0.0, f64::max));
        let sum: f64 = values.iter().sum();
        assert!((h.sum - sum).abs() <= sum * 1e-9, "{} {sum}", h.sum);
        let mut want = vec![0; h.buckets.len()];
        for v in values.iter().filter(|v| **v > 0.0) {
            let index = (bucket_index(*v) >> (SCALE as i32 - h.scale)) - h.offset;
            want[usize::try_from(index).unwrap()] += 1;
        }
        assert_eq!(h.buckets, want);
    }
}
