//! The picture of the demo: acknowledged writes per 10 ms around the moment of the kill.
//!
//! Text only, drawn from the times at which the clients' writes were acknowledged.

use std::time::Duration;

/// Width of one bar.
const BIN: Duration = Duration::from_millis(10);
/// Bars before and after the event.
const BEFORE: usize = 20;
const AFTER: usize = 90;
/// Height of the picture in lines, and the signs for eighths of a line.
const LINES: usize = 6;
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

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

/// Draws the bars. `acks` may be in any order.
pub fn draw(acks: &[Duration], event: Duration, label: &str) -> String {
    let start = event.saturating_sub(BIN * BEFORE as u32);
    let mut bins = vec![0usize; BEFORE + AFTER];
    for ack in acks {
        if let Some(since) = ack.checked_sub(start)
            && let Some(bin) = bins.get_mut((since.as_nanos() / BIN.as_nanos()) as usize)
        {
            *bin += 1;
        }
    }
    let most = bins.iter().copied().max().unwrap_or(0).max(1);
    let mut picture = format!(
        "  acknowledged writes per {} ms (highest bar: {most})\n",
        BIN.as_millis()
    );
    for line in (0..LINES).rev() {
        picture.push_str("  │");
        for &count in &bins {
            let filled = (count * LINES * 8).div_ceil(most);
            picture.push(EIGHTHS[filled.saturating_sub(line * 8).min(8)]);
        }
        picture.push('\n');
    }
    let at = ((event - start).as_nanos() / BIN.as_nanos()) as usize;
    picture.push_str("  └");
    picture.extend((0..bins.len()).map(|bin| if bin == at { '┬' } else { '─' }));
    picture.push('\n');
    picture.push_str(&format!("   {:at$}│ {label}\n", ""));
    picture
}

/// The value at `per_cent` of an ascending list; 0 for an empty one.
pub fn percentile(sorted: &[f64], per_cent: f64) -> f64 {
    let index = ((sorted.len() as f64 - 1.0) * per_cent / 100.0).round().max(0.0) as usize;
    sorted.get(index).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn the_picture_marks_the_event() {
        let picture = draw(&ms(&[100, 101, 205, 900]), Duration::from_millis(200), "kill -9");
        assert!(picture.contains("highest bar: 2"));
        assert!(
            picture
                .lines()
                .last()
                .unwrap()
                .trim_start()
                .starts_with("│ kill -9")
        );
        let mark = picture.lines().find(|line| line.contains('┬')).unwrap();
        assert_eq!(mark.chars().position(|c| c == '┬'), Some(3 + BEFORE));
    }
}
