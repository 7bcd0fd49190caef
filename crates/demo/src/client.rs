//! The demo's client: an ordinary Redis client on one TCP connection that it never opens again.
//!
//! It writes numbered keys, reads some of them back at once, and at the end reads back every write that
//! was acknowledged. It knows nothing of Lockstep: what it sees is what any client would see.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Longest silence before the client gives a connection up; far above any failover.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many keys one read-back request asks for.
const READ_BACK: usize = 500;

/// What the demo and its clients tell each other while they write.
#[derive(Debug, Default)]
pub struct Course {
    /// Is the time over? Then the clients verify what they have written.
    pub stop: AtomicBool,
    /// Writes that were acknowledged to any of them so far.
    pub acked: AtomicU64,
}

/// What one client saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// Time at which each write was acknowledged, since the start of the load.
    pub acks: Vec<Duration>,
    /// Acknowledged writes that could not be read back.
    pub writes_lost: u64,
    /// Reads that gave another value than the one written.
    pub reads_wrong: u64,
    /// Why the connection broke, if it did.
    pub reset: Option<String>,
}

/// One client with its connection.
pub struct Client {
    connection: redis::Connection,
    id: u64,
}

impl Client {
    /// Connects and waits for the first PONG.
    pub fn connect(address: SocketAddr, id: u64) -> Result<Client> {
        let url = format!("redis://{address}/");
        let client = redis::Client::open(url).context("cannot make a Redis client")?;
        let mut connection = client
            .get_connection_with_timeout(PATIENCE)
            .context("cannot connect to Redis")?;
        connection.set_read_timeout(Some(PATIENCE))?;
        connection.set_write_timeout(Some(PATIENCE))?;
        redis::cmd("PING")
            .query::<String>(&mut connection)
            .context("Redis does not answer PING")?;
        Ok(Client { connection, id })
    }

    /// Writes until it is told to stop, then verifies. Never reconnects.
    pub fn load(&mut self, start: Instant, course: &Course) -> Seen {
        let mut seen = Seen::default();
        if let Err(error) = self.write_until(start, course, &mut seen) {
            seen.reset = Some(error.to_string());
        } else if let Err(error) = self.verify(&mut seen) {
            seen.reset = Some(error.to_string());
        }
        seen
    }

    fn write_until(&mut self, start: Instant, course: &Course, seen: &mut Seen) -> redis::RedisResult<()> {
        while !course.stop.load(Ordering::Relaxed) {
            let number = seen.acks.len();
            let (key, value) = self.pair(number);
            redis::cmd("SET")
                .arg(&key)
                .arg(&value)
                .query::<()>(&mut self.connection)?;
            seen.acks.push(start.elapsed());
            course.acked.fetch_add(1, Ordering::Relaxed);
            // Every eighth write is read back at once: the newest state must be there, before the failover
            // and after it.
            if number.is_multiple_of(8) {
                let read: Option<String> = redis::cmd("GET").arg(&key).query(&mut self.connection)?;
                seen.reads_wrong += u64::from(read.as_deref() != Some(value.as_str()));
            }
        }
        Ok(())
    }

    fn verify(&mut self, seen: &mut Seen) -> redis::RedisResult<()> {
        for first in (0..seen.acks.len()).step_by(READ_BACK) {
            let pairs: Vec<(String, String)> = (first..seen.acks.len().min(first + READ_BACK))
                .map(|number| self.pair(number))
                .collect();
            let mut command = redis::cmd("MGET");
            for (key, _) in &pairs {
                command.arg(key);
            }
            let values: Vec<Option<String>> = command.query(&mut self.connection)?;
            for ((_, expected), value) in pairs.iter().zip(&values) {
                match value {
                    None => seen.writes_lost += 1,
                    Some(value) => seen.reads_wrong += u64::from(value != expected),
                }
            }
        }
        Ok(())
    }

    /// Asks Redis to end; the appliance then switches itself off.
    pub fn shut_down(mut self) {
        // Redis answers by closing the connection, which the client library reports as an error.
        let _: redis::RedisResult<()> = redis::cmd("SHUTDOWN").arg("NOSAVE").query(&mut self.connection);
    }

    fn pair(&self, number: usize) -> (String, String) {
        // The value is such a function of the key that a shifted or repeated answer would not fit.
        (
            format!("client{}:{number}", self.id),
            format!("{:016x}", mix(self.id << 40 | number as u64)),
        )
    }
}

/// A bijection of 64-bit numbers that looks random (splitmix64's finaliser).
fn mix(number: u64) -> u64 {
    let a = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let b = (a ^ a >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    b ^ b >> 31
}
