//! The picture of the demo: acknowledged writes over time, around the moment of the kill.
//!
//! Text only, drawn from the times at which the clients' writes were acknowledged, as wide as the reader's
//! terminal.

use std::time::Duration;

use crate::screen::Screen;

/// Columns that a picture has at least and at most, whatever the terminal has.
const WIDTH_MIN: usize = 60;
const WIDTH_MAX: usize = 160;
/// Columns beside the bars: two spaces, the axis, and one that stays free, as some terminals wrap without it.
const BESIDE: usize = 4;
/// Widths that a bar may have.
const BINS_MS: [u64; 12] = [2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1_000, 10_000];
/// Time that a picture shows at least, and at least after the clients' pause.
const SHOWN_MIN: Duration = Duration::from_millis(1_100);
const AFTERWARDS_MIN: Duration = Duration::from_millis(300);
/// Height of the picture in lines.
const LINES: usize = 6;
/// Signs for the parts of a line that a bar fills.
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const THIRDS: [char; 4] = [' ', '.', ':', '#'];

/// The longest time between two acknowledgements at or after `event`, in milliseconds. The gap in which the
/// event lies counts whole. `acks` ascend.
pub fn pause_ms(acks: &[Duration], event: Duration) -> f64 {
    let mut longest = Duration::ZERO;
    for pair in acks.windows(2) {
        if pair[1] >= event {
            longest = longest.max(pair[1] - pair[0]);
        }
    }
    longest.as_secs_f64() * 1000.0
}

/// Draws the bars. `acks` may be in any order; `pause` is the longest pause after the event, all of which the
/// picture shows.
pub fn draw(acks: &[Duration], event: Duration, pause: Duration, label: &str, screen: &Screen) -> String {
    let bars = screen.width.clamp(WIDTH_MIN, WIDTH_MAX) - BESIDE;
    let before = bars / 5;
    let bin = bin(bars, before, pause);
    let start = event.saturating_sub(bin * before as u32);
    let at = ((event - start).as_nanos() / bin.as_nanos()) as usize;
    let mut counts = vec![0usize; bars];
    for ack in acks {
        if let Some(since) = ack.checked_sub(start)
            && let Some(count) = counts.get_mut((since.as_nanos() / bin.as_nanos()) as usize)
        {
            *count += 1;
        }
    }
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let (signs, axis, floor, mark): (&[char], _, _, _) = match screen.utf8 {
        true => (&EIGHTHS, '│', "└", ['─', '┬']),
        false => (&THIRDS, '|', "+", ['-', '+']),
    };
    let parts = signs.len() - 1;
    let mut picture = format!(
        "  acknowledged writes per {} ms (highest bar: {most})\n",
        bin.as_millis()
    );
    for line in (0..LINES).rev() {
        let sign = |&count: &usize| {
            let filled = (count * LINES * parts).div_ceil(most);
            signs[filled.saturating_sub(line * parts).min(parts)]
        };
        let text: String = counts.iter().map(sign).collect();
        picture += format!("  {axis}{text}").trim_end();
        picture.push('\n');
    }
    let ground: String = (0..bars).map(|bar| mark[usize::from(bar == at)]).collect();
    let label = screen.red(label);
    picture + &format!("  {floor}{ground}\n   {:at$}{axis} {label}\n", "")
}

/// How much time a bar stands for: as little as lets all of the picture be seen.
fn bin(bars: usize, before: usize, pause: Duration) -> Duration {
    let shows = |bin: &Duration| {
        let after = *bin * (bars - before) as u32;
        *bin * bars as u32 >= SHOWN_MIN && after >= pause + AFTERWARDS_MIN
    };
    let longest = BINS_MS
        .last()
        .copied()
        .map_or(Duration::MAX, Duration::from_millis);
    let mut bins = BINS_MS.into_iter().map(Duration::from_millis);
    bins.find(shows).unwrap_or(longest)
}

/// The value at `per_cent` of an ascending list; 0 for an empty one.
pub fn percentile(sorted: &[f64], per_cent: f64) -> f64 {
    let index = ((sorted.len() as f64 - 1.0) * per_cent / 100.0).round().max(0.0) as usize;
    sorted.get(index).copied().unwrap_or(0.0)
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

    #[test]
    fn the_pause_is_the_longest_gap_that_ends_after_the_event() {
        assert_eq!(
            pause_ms(&ms(&[0, 300, 310, 900, 905]), Duration::from_millis(312)),
            590.0
        );
        assert_eq!(pause_ms(&ms(&[0, 10]), Duration::from_millis(50)), 0.0);
    }

    #[test]
    fn the_picture_fits_the_terminal_and_shows_all_of_the_pause() {
        // A write each millisecond, but for a pause of three seconds.
        let event = 5_000;
        let acks: Vec<u64> = (0..event).chain(event + 3_000..event + 5_000).collect();
        for width in [1, 60, 80, 100, 160, 400] {
            let screen = Screen { width, ..PLAIN };
            let pause = Duration::from_millis(3_000);
            let picture = draw(
                &ms(&acks),
                Duration::from_millis(event),
                pause,
                "SIGKILL to the primary",
                &screen,
            );
            let longest = picture.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(longest < width.clamp(60, 160), "{longest} of {width}:\n{picture}");
            let floor = picture.lines().nth(LINES).unwrap();
            assert!(
                floor.contains(' ') && floor.ends_with('█'),
                "it goes on after the pause:\n{picture}"
            );
        }
    }

    #[test]
    fn the_picture_marks_the_event() {
        let pause = Duration::from_millis(600);
        let picture = draw(
            &ms(&[100, 101, 205, 900]),
            Duration::from_millis(200),
            pause,
            "kill -9",
            &PLAIN,
        );
        assert!(picture.contains("highest bar: 2"), "{picture}");
        let column = |sign: char| {
            let line = picture
                .lines()
                .find(|line| line.contains(sign) || line.contains("kill"));
            line.unwrap().chars().position(|other| other == sign)
        };
        assert_eq!(column('┬'), Some(3 + 10), "a bar is 20 ms wide:\n{picture}");
        let label = picture.lines().last().unwrap();
        assert_eq!(label.trim_start(), "│ kill -9");
        assert_eq!(label.chars().position(|sign| sign == '│'), Some(3 + 10));
    }

    #[test]
    fn without_utf_8_there_is_only_ascii() {
        let screen = Screen { utf8: false, ..PLAIN };
        let pause = Duration::from_millis(500);
        let picture = draw(
            &ms(&[100, 150, 900]),
            Duration::from_millis(200),
            pause,
            "x",
            &screen,
        );
        assert!(picture.is_ascii() && picture.contains('#'), "{picture}");
    }
}
