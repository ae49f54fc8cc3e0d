use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::time::Duration;

/// An instant: nanoseconds since the origin of the clock that it was read from.
///
/// Timestamps of different clocks have nothing to do with each other. All [`SystemClock`](crate::SystemClock)s of a
/// process share one origin.
///
/// Arithmetic saturates, by operators as by methods: what is later than [`MAX`](Self::MAX) is
/// `MAX`, what is earlier than [`ZERO`](Self::ZERO) is `ZERO`, and the time since a later instant is
/// zero. 64 bits of nanoseconds last 584 years.
///
/// ```
/// use std::time::Duration;
/// use tollgate::Timestamp;
///
/// let start = Timestamp::from_nanos(1_000);
/// let mut later = start + Duration::from_micros(2);
/// assert_eq!(later.as_nanos(), 3_000);
/// assert_eq!(later - start, Duration::from_micros(2));
/// assert_eq!(start - later, Duration::ZERO);
///
/// later += Duration::MAX;
/// assert_eq!(later, Timestamp::MAX);
/// assert_eq!(start - Duration::MAX, Timestamp::ZERO);
/// assert_eq!(start.to_string(), "1µs");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The clock's origin.
    ///
    /// ```
    /// use tollgate::{Clock, ManualClock, Timestamp};
    ///
    /// assert_eq!(ManualClock::new().now(), Timestamp::ZERO);
    /// ```
    pub const ZERO: Self = Self(0);
    /// The last instant that can be named, 584 years after the origin.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::Timestamp;
    ///
    /// assert_eq!(Timestamp::ZERO.saturating_add(Duration::MAX), Timestamp::MAX);
    /// ```
    pub const MAX: Self = Self(u64::MAX);

    /// The instant `nanos` nanoseconds after the origin.
    ///
    /// ```
    /// assert!(tollgate::Timestamp::from_nanos(1) > tollgate::Timestamp::ZERO);
    /// ```
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    ///
    /// ```
    /// assert_eq!(tollgate::Timestamp::MAX.as_nanos(), u64::MAX);
    /// ```
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The instant `duration` later, or [`Timestamp::MAX`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::Timestamp;
    ///
    /// assert_eq!(Timestamp::ZERO.saturating_add(Duration::from_nanos(3)).as_nanos(), 3);
    /// assert_eq!(Timestamp::ZERO.saturating_add(Duration::MAX), Timestamp::MAX);
    /// ```
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(saturating_nanos(duration)))
    }

    /// The instant `duration` earlier, or [`Timestamp::ZERO`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::Timestamp;
    ///
    /// let later = Timestamp::from_nanos(3);
    /// assert_eq!(later.saturating_sub(Duration::from_nanos(1)).as_nanos(), 2);
    /// assert_eq!(later.saturating_sub(Duration::from_nanos(4)), Timestamp::ZERO);
    /// ```
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(saturating_nanos(duration)))
    }

    /// How long after `earlier` this is; zero if it is not.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::Timestamp;
    ///
    /// let (earlier, later) = (Timestamp::from_nanos(1), Timestamp::from_nanos(4));
    /// assert_eq!(later.saturating_since(earlier), Duration::from_nanos(3));
    /// assert_eq!(earlier.saturating_since(later), Duration::ZERO);
    /// ```
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// As [`Timestamp::saturating_add`].
    #[inline]
    fn add(self, duration: Duration) -> Self {
        self.saturating_add(duration)
    }
}

impl AddAssign<Duration> for Timestamp {
    #[inline]
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    /// As [`Timestamp::saturating_sub`].
    #[inline]
    fn sub(self, duration: Duration) -> Self {
        self.saturating_sub(duration)
    }
}

impl SubAssign<Duration> for Timestamp {
    #[inline]
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl Sub for Timestamp {
    type Output = Duration;

    /// As [`Timestamp::saturating_since`].
    #[inline]
    fn sub(self, earlier: Self) -> Duration {
        self.saturating_since(earlier)
    }
}

/// The time since the origin, as [`Duration`]'s `Debug` has it.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Duration::from_nanos(self.0), f)
    }
}

/// A duration in nanoseconds; what does not fit is "for ever".
pub(crate) fn saturating_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
