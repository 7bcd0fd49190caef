//! The picture of the demo: acknowledged writes over time, and below them when the VM was protected, from
//! some time before the first kill on.
//!
//! Text only, drawn from the times at which the clients' writes were acknowledged, as wide as the reader's
//! terminal.

use std::ops::Range;
use std::time::Duration;

use terminal::Screen;

/// Columns that a picture has at least and at most, whatever the terminal has.
const WIDTH_MIN: usize = 60;
const WIDTH_MAX: usize = 160;
/// Columns beside the bars: two spaces, the axis, and one that stays free, as some terminals wrap without it.
const BESIDE: usize = 4;
/// Widths that a bar may have.
const BINS_MS: [u64; 22] = [
    2, 5, 10, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 250, 300, 400, 500, 750, 1_000, 2_000, 5_000, 10_000,
];
/// Time that a picture shows at least, and at least after the VM is protected for the last time.
const SHOWN_MIN: Duration = Duration::from_millis(1_100);
const AFTERWARDS_MIN: Duration = Duration::from_millis(300);
/// Height of the picture in lines.
const LINES: usize = 5;

/// What a picture is made of.
struct Signs {
    /// For the parts of a line that a bar fills.
    parts: &'static [char],
    axis: char,
    corner: char,
    /// The ground below the bars: the VM is protected, was killed just then, has no backup, has one again.
    protected: char,
    kill: char,
    alone: char,
    again: char,
}

const SIGNS: Signs = Signs {
    parts: &[' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
    axis: '│',
    corner: '└',
    protected: '─',
    kill: '✗',
    alone: '┄',
    again: '●',
};
const SIGNS_ASCII: Signs = Signs {
    parts: &[' ', '.', ':', '#'],
    axis: '|',
    corner: '+',
    protected: '-',
    kill: 'X',
    alone: '.',
    again: '*',
};

/// Draws the bars, and below them the times without a backup, of which there is one at least and which
/// ascend. `acks` may be in any order; `kill` says in words what was done.
pub fn draw(acks: &[Duration], unprotected: &[Range<Duration>], kill: &str, screen: &Screen) -> String {
    let signs = if screen.utf8 { SIGNS } else { SIGNS_ASCII };
    let bars = screen.width.clamp(WIDTH_MIN, WIDTH_MAX) - BESIDE;
    // One kill is shown with much of what was before.
    let before = bars / (4 + unprotected.len());
    let (first, last) = match unprotected {
        [first, .., last] => (first.start, last.end),
        [only] => (only.start, only.end),
        [] => return String::new(),
    };
    let bin = bin(bars, before, last.saturating_sub(first));
    let start = first.saturating_sub(bin * before as u32);
    let bar_of = |time: Duration| {
        let since = time.checked_sub(start)?;
        let bar = (since.as_nanos() / bin.as_nanos()) as usize;
        (bar < bars).then_some(bar)
    };
    let mut counts = vec![0usize; bars];
    for bar in acks.iter().filter_map(|&ack| bar_of(ack)) {
        counts[bar] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let parts = signs.parts.len() - 1;
    let mut picture = format!(
        "  acknowledged writes per {} ms (highest bar: {most})\n",
        bin.as_millis()
    );
    for line in (0..LINES).rev() {
        let sign = |&count: &usize| {
            let filled = (count * LINES * parts).div_ceil(most);
            signs.parts[filled.saturating_sub(line * parts).min(parts)]
        };
        let text: String = counts.iter().map(sign).collect();
        picture += format!("  {}{text}", signs.axis).trim_end();
        picture.push('\n');
    }
    let spans = unprotected.iter();
    let spans = spans.filter_map(|span| Some((bar_of(span.start)?, bar_of(span.end).unwrap_or(bars))));
    picture + &below(bars, spans, kill, &signs, screen)
}

/// The ground below the bars, and what its signs mean.
fn below(
    bars: usize,
    spans: impl Iterator<Item = (usize, usize)>,
    kill: &str,
    signs: &Signs,
    screen: &Screen,
) -> String {
    let mut ground = vec![signs.protected; bars];
    // Each kill is seen, and each time the VM was protected again: what shares a column goes to the next one.
    let mut free = 0;
    for (from, until) in spans {
        let from = from.max(free);
        let until = until.max(from + 1);
        free = until + 1;
        let Some(sign) = ground.get_mut(from) else { break };
        *sign = signs.kill;
        ground
            .iter_mut()
            .take(until)
            .skip(from + 1)
            .for_each(|sign| *sign = signs.alone);
        if let Some(sign) = ground.get_mut(until) {
            *sign = signs.again;
        }
    }
    let (cross, dot) = (
        screen.red(&signs.kill.to_string()),
        screen.green(&signs.again.to_string()),
    );
    let coloured = |&sign: &char| match sign {
        sign if sign == signs.kill => cross.clone(),
        sign if sign == signs.again => dot.clone(),
        sign => sign.to_string(),
    };
    let ground: String = ground.iter().map(coloured).collect();
    format!(
        "  {}{ground}\n   {cross} {kill}  {dot} protected again  {} no backup\n",
        signs.corner, signs.alone
    )
}

/// How much time a bar stands for: as little as lets all be seen from the first kill on for so long.
fn bin(bars: usize, before: usize, shown: Duration) -> Duration {
    let shows = |bin: &Duration| {
        let after = *bin * (bars - before) as u32;
        *bin * bars as u32 >= SHOWN_MIN && after >= shown + AFTERWARDS_MIN
    };
    let longest = BINS_MS
        .last()
        .copied()
        .map_or(Duration::MAX, Duration::from_millis);
    let mut bins = BINS_MS.into_iter().map(Duration::from_millis);
    bins.find(shows).unwrap_or(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Screen = Screen {
        width: 80,
        utf8: true,
        colour: false,
    };

    fn ms(values: &[u64]) -> Vec<Duration> {
        values.iter().map(|&value| Duration::from_millis(value)).collect()
    }

    /// From when to when the VM had no backup.
    fn unprotected(spans_ms: &[(u64, u64)]) -> Vec<Range<Duration>> {
        let ms = Duration::from_millis;
        spans_ms
            .iter()
            .map(|&(from, until)| ms(from)..ms(until))
            .collect()
    }

    #[test]
    fn the_picture_fits_the_terminal_and_shows_all_until_the_vm_is_protected() {
        // A write each millisecond, but for a pause of three seconds.
        let event = 5_000;
        let acks: Vec<u64> = (0..event).chain(event + 3_000..event + 8_000).collect();
        for width in [1, 60, 80, 100, 160, 400] {
            let screen = Screen { width, ..PLAIN };
            let spans = unprotected(&[(event, event + 3_500)]);
            let picture = draw(&ms(&acks), &spans, "SIGKILL to the primary", &screen);
            let longest = picture.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(longest < width.clamp(60, 160), "{longest} of {width}:\n{picture}");
            let floor = picture.lines().nth(LINES).unwrap();
            assert!(
                floor.contains(' ') && floor.ends_with('█'),
                "it goes on after the pause:\n{picture}"
            );
            assert!(picture.lines().nth(LINES + 1).unwrap().contains('●'), "{picture}");
        }
    }

    #[test]
    fn the_picture_marks_the_kill_and_when_the_vm_is_protected_again() {
        let spans = unprotected(&[(200, 600)]);
        let picture = draw(&ms(&[100, 101, 205, 900]), &spans, "kill -9", &PLAIN);
        assert!(picture.contains("highest bar: 2"), "{picture}");
        let ground: Vec<char> = picture.lines().nth(LINES + 1).unwrap().chars().collect();
        let columns = |sign| {
            (0..ground.len())
                .filter(|&at| ground[at] == sign)
                .collect::<Vec<_>>()
        };
        assert_eq!(columns('✗'), [3 + 13], "a bar is 15 ms wide:\n{picture}");
        assert_eq!(columns('●'), [3 + 13 + 27], "{picture}");
        assert_eq!(columns('┄'), (17..43).collect::<Vec<_>>(), "{picture}");
        let legend = picture.lines().last().unwrap();
        assert_eq!(legend, "   ✗ kill -9  ● protected again  ┄ no backup");
    }

    #[test]
    fn the_picture_marks_each_kill_and_each_time_the_vm_is_protected_again() {
        let acks: Vec<u64> = (0..12_000).step_by(3).collect();
        // The first one is shorter than a bar, and the last kill comes less than a bar after the VM is
        // protected.
        let spans = unprotected(&[(500, 501), (1_500, 2_200), (5_000, 9_000), (9_005, 10_000)]);
        for width in [60, 80, 160] {
            let screen = Screen { width, ..PLAIN };
            let picture = draw(&ms(&acks), &spans, "kill -9", &screen);
            let ground = picture.lines().nth(LINES + 1).unwrap();
            let marks: String = ground.chars().filter(|sign| "✗●".contains(*sign)).collect();
            assert_eq!(marks, "✗●✗●✗●✗●", "{picture}");
        }
    }

    #[test]
    fn without_utf_8_there_is_only_ascii() {
        let screen = Screen { utf8: false, ..PLAIN };
        let spans = unprotected(&[(200, 700)]);
        let picture = draw(&ms(&[100, 150, 900]), &spans, "x", &screen);
        assert!(picture.is_ascii() && picture.contains('#'), "{picture}");
    }
}
