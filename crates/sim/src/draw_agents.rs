//! Draws the agents of a world, and what goes wrong with them, from a stream of its own: all else of a seed
//! but the hosts' speeds is what it would be with a keeper.

use toy::hash::mix;
use toy::random::Random;
use toy_site::SiteOptions;

use crate::{faults::Fault, options::Options};

/// Of how many of a thousand such seeds agents look after the guest.
const AGENTS_PERMILLE: u64 = 300;
/// In how many of a thousand worlds with agents the hosts are of one kind: measurements of their speeds
/// differ by a few percent then, as on most sites.
const ALIKE_PERMILLE: u64 = 500;

impl Options {
    /// A world of a seed in which agents look after the guest, whatever else happens.
    #[must_use]
    pub fn draw_kept_by_agents(seed: u64) -> Options {
        let mut options = Options::draw_life(seed);
        if options.site.is_none() {
            options.draw_agents();
        }
        options
    }

    /// Draws whether agents look after the guest, where somebody does.
    pub(crate) fn draw_whether_agents(&mut self) {
        let is_kept = self.keeper.is_some();
        if is_kept && Random::new(mix(self.seed, 0xa6e7)).permille(AGENTS_PERMILLE) {
            self.draw_agents();
        }
    }

    /// Draws agents in place of the keeper, whether their hosts are of one kind, and what goes wrong.
    fn draw_agents(&mut self) {
        let random = &mut Random::new(mix(self.seed, 0xa6_e775));
        let mut speeds: Vec<u64> = self.hosts.iter().map(|host| host.speed).collect();
        if random.permille(ALIKE_PERMILLE) {
            let speed = speeds.first().copied().unwrap_or(1);
            for of_host in &mut speeds {
                *of_host = (speed * random.between(92, 108) / 100).max(1);
            }
        }
        let site = SiteOptions::draw(random, speeds);
        let mishaps = site.mishaps(random, self.unsafe_for.0);
        let faults = mishaps.into_iter().map(|(at, mishap)| (at, Fault::Site(mishap)));
        self.timed.extend(faults);
        self.timed.sort_by_key(|(at, _)| *at);
        self.site = Some(site);
    }
}
