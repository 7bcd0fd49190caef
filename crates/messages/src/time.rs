//! `Time` and `Span`: host time, made by `host` or `sim`, never read here.
//!
//! Not the guest's clock: that is [`machine::Step`].

/// Nanoseconds on a clock that never goes back and that goes on while the host or the process sleeps
/// (CLOCK_BOOTTIME): a stalled replica must notice on waking that it was silent for too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub u64);

/// A length of time in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub u64);

impl Span {
    /// A span of so many milliseconds.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Span {
        Span(ms * 1_000_000)
    }

    /// A span of so many microseconds.
    #[must_use]
    pub const fn from_us(us: u64) -> Span {
        Span(us * 1_000)
    }
}

impl Time {
    /// The moment `span` later.
    #[must_use]
    pub const fn after(self, span: Span) -> Time {
        Time(self.0.saturating_add(span.0))
    }

    /// The time from `earlier` to `self`; zero if `earlier` is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Time) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}
