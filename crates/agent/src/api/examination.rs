//! An examination: what one agent tells another one, or `lockstep doctor`, so that it can be judged whether
//! the two hosts could hold the halves of a VM: their programs, their clocks, whether both see the same
//! directory, and whether a port of the pair's range is reached.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use arbiter::is_mark;
use axum::extract::State;
use axum::{Extension, Json};
use os::sys::clock;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::timeout;
use utoipa::IntoParams;

use super::asking::Asked;
use super::desk::Desk;
use super::door::{Door, see};
use crate::limits::{ECHO_BYTES_MAX, ECHO_LASTS, ROUND_TRIPS};
use controller::limits::AGENT_PATIENCE;
use membership::client::{Connection, Question, Where};
use membership::joining::Newcomer;
use membership::problem::{OfPeers, Problem};

/// What is to be examined.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// Name of a mark that may be at the arbiter; empty: no mark is looked for.
    #[serde(default)]
    mark: String,
    /// Whether a port of the pair's range shall answer for a moment.
    #[serde(default)]
    echo: bool,
}

/// What an agent tells of its host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examination {
    /// Name, address and release of the host, with what its program can hold a half of a VM with.
    pub program: Newcomer,
    /// Whether the host can translate guests' code into its own.
    pub translates: bool,
    /// The time by the host's clock, in nanoseconds since 1970.
    pub wall_ns: u64,
    /// Whether the host sees the mark at the arbiter; null: no mark was asked for, or the
    /// arbiter has not answered in time.
    pub mark_seen: Option<bool>,
    /// A port of the host that answers for a moment; null: no port was asked for, or none is free.
    pub echo: Option<Echo>,
}

/// A port that answers for a moment: by TCP with the word, by UDP with whatever begins with the word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Echo {
    /// The address and port at which the host answers.
    pub address: SocketAddr,
    /// The word by which a caller knows the answer: 32 characters drawn at random.
    pub word: String,
}

/// Another host, as this one's agent has found it just now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerObject {
    /// Name of the host.
    pub host: String,
    /// Address and port at which the host's agent was called.
    pub agent: SocketAddr,
    /// Time for a question and its answer, the shortest of some, in microseconds; 0: there was no answer.
    pub round_trip_us: u64,
    /// By how much the other host's clock is ahead of this host's, in milliseconds.
    pub clock_ahead_ms: i64,
    /// What the other host's agent has told; null: it has told nothing.
    pub examination: Option<Examination>,
    /// Why the other host's agent has told nothing, as a sentence; empty: it has told something.
    pub trouble: String,
}

/// Tell how this host is, for `lockstep doctor`
///
/// The answer is for a doctor of the same release, and no part of the API.
#[utoipa::path(
    get,
    path = "/v1/examination",
    tag = "between agents",
    params(Wanted),
    responses((status = 200, description = "How the host is", body = serde_json::Value), OfPeers)
)]
pub async fn examination(
    Extension(door): Extension<Arc<Door>>,
    Asked(wanted): Asked<Wanted>,
) -> Result<Json<Examination>, Problem> {
    let mark_seen = match wanted.mark.as_str() {
        "" => None,
        mark if is_mark(mark) => see(&door, mark.to_owned()).await.ok(),
        _ => return Err(Problem::new("bad-request", "`mark` is 32 hexadecimal digits")),
    };
    let echo = match wanted.echo {
        true => answer_for_a_moment(&door).await,
        false => None,
    };
    Ok(Json(Examination {
        program: door.here.clone(),
        translates: door.translates,
        wall_ns: clock::wall_ns(),
        mark_seen,
        echo,
    }))
}

/// Tell how the other hosts are as seen from this one, for `lockstep doctor`
///
/// The answer is for a doctor of the same release, and no part of the API.
#[utoipa::path(
    get,
    path = "/v1/peers",
    tag = "between agents",
    params(Wanted),
    responses((status = 200, description = "How the hosts are", body = serde_json::Value), OfPeers)
)]
pub async fn peers(
    State(desk): State<Desk>,
    Asked(wanted): Asked<Wanted>,
) -> Result<Json<Vec<PeerObject>>, Problem> {
    if !wanted.mark.is_empty() && !is_mark(&wanted.mark) {
        return Err(Problem::new("bad-request", "`mark` is 32 hexadecimal digits"));
    }
    let scene = desk.now();
    if let Some((_, why)) = &scene.directory_away {
        let detail =
            format!("the site's directory does not answer ({why}), so the other hosts are not known");
        return Err(Problem::new("directory-away", detail));
    }
    let others = scene.known.hosts.iter().filter(|(name, _)| **name != scene.me);
    let called = others.filter_map(|(name, card)| Some((name, card, desk.agent_of(&scene, name)?)));
    let asked: Vec<_> = called
        .map(|(name, card, to)| {
            let path = format!("/v1/examination?mark={}&echo={}", wanted.mark, wanted.echo);
            let mut peer = PeerObject {
                host: name.to_string(),
                agent: card.value.agent,
                round_trip_us: 0,
                clock_ahead_ms: 0,
                examination: None,
                trouble: String::new(),
            };
            tokio::spawn(async move {
                if let Err(trouble) = ask(&to, &path, &mut peer).await {
                    peer.trouble = trouble;
                }
                peer
            })
        })
        .collect();
    let mut all = Vec::new();
    for peer in asked {
        // A task that has panicked has ended the process.
        all.extend(peer.await);
    }
    Ok(Json(all))
}

/// Asks one agent; the sentence of an error says why it tells nothing.
async fn ask(to: &Where, path: &str, peer: &mut PeerObject) -> Result<(), String> {
    let opened = timeout(AGENT_PATIENCE, Connection::open(to)).await;
    let silent = format!("no answer for {} s", AGENT_PATIENCE.as_secs());
    let mut connection = opened
        .map_err(|_| silent)?
        .map_err(|error| error.reason().to_owned())?;
    // The quickest of some says most of the network: the others waited for a processor too.
    let mut quickest = u64::MAX;
    for _ in 0..ROUND_TRIPS {
        let began = clock::now();
        let answer = connection.ask(&Question::get("/healthz"), AGENT_PATIENCE).await;
        answer.map_err(|error| error.reason().to_owned())?;
        quickest = quickest.min(clock::now().since(began).0 / 1_000);
    }
    peer.round_trip_us = quickest.max(1);
    let began = clock::wall_ns();
    let answer = connection.ask(&Question::get(path), AGENT_PATIENCE).await;
    let answer = answer.map_err(|error| error.reason().to_owned())?;
    if !answer.is_good() {
        return Err(format!(
            "it is of a release that answers no examination (status {})",
            answer.status
        ));
    }
    let told: Examination = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
    let middle = began / 2 + clock::wall_ns() / 2;
    let ahead = i128::from(told.wall_ns) - i128::from(middle);
    peer.clock_ahead_ms = i64::try_from(ahead / 1_000_000).unwrap_or(i64::MAX);
    peer.examination = Some(told);
    Ok(())
}

/// Has a port of the pair's range answer for a moment; `None`: none is free, or enough do already.
async fn answer_for_a_moment(door: &Door) -> Option<Echo> {
    let place = door.echoes.clone().try_acquire_owned().ok()?;
    let ports = door.offer.first_port..=door.offer.last_port;
    let (tcp, udp, address) = bind(door.address, ports).await?;
    let word = format!("{:032x}", os::entropy::random_u128());
    let said = word.clone();
    tokio::spawn(async move {
        let both = async {
            tokio::join!(answer_streams(&tcp, &said), answer_datagrams(&udp, &said));
        };
        // It is over when the time is.
        let _ = timeout(ECHO_LASTS, both).await;
        drop(place);
    });
    Some(Echo { address, word })
}

/// A port of both kinds that nobody else has. Processes that wait for VMs begin with the first one, so this
/// begins with the last.
async fn bind(address: IpAddr, ports: RangeInclusive<u16>) -> Option<(TcpListener, UdpSocket, SocketAddr)> {
    for port in ports.rev() {
        let at = SocketAddr::new(address, port);
        if let (Ok(tcp), Ok(udp)) = (TcpListener::bind(at).await, UdpSocket::bind(at).await) {
            return Some((tcp, udp, at));
        }
    }
    None
}

async fn answer_streams(listener: &TcpListener, word: &str) {
    while let Ok((mut stream, _)) = listener.accept().await {
        // The word fits into any socket's buffer, and who hangs up does not want it.
        let _ = stream.write_all(word.as_bytes()).await;
    }
}

async fn answer_datagrams(socket: &UdpSocket, word: &str) {
    let mut buffer = vec![0; ECHO_BYTES_MAX];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let datagram = buffer.get(..length).unwrap_or_default();
        if datagram.starts_with(word.as_bytes()) {
            // One that is lost is sent again.
            let _ = socket.send_to(datagram, from).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::ECHOES_MAX;
    use controller::{Program, VmFacts};
    use link::Key;
    use membership::config::Config;
    use membership::identity::Fingerprint;
    use std::path::Path;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpStream;

    fn no_vm(_: &str) -> Result<VmFacts, String> {
        Err("there is none".into())
    }

    /// The door of a host with these ports.
    fn door(ports: RangeInclusive<u16>) -> Door {
        let text = format!(
            "host = \"a\"\naddress = \"127.0.96.1\"\nkey = \"k\"\n[directory]\nkind = \"shared\"\npath = \
             \"/d\"\n[arbiter]\npath = \"/a\"\n[pair]\nfirst_port = {}\nlast_port = {}\n",
            ports.start(),
            ports.end()
        );
        let program = Program {
            executable: "/lockstep".into(),
            version: "0.1.0",
            translates: true,
            sockets: "/run".into(),
            read_vm: no_vm,
            trial: None,
        };
        let config = Config::parse(&text, Path::new("/")).unwrap();
        Door::new(&config, Key::new([1; 32]), Fingerprint([2; 32]), &program)
    }

    fn run(what: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(what);
    }

    #[test]
    fn a_port_says_its_word_and_sends_back_only_what_begins_with_it() {
        run(async {
            let echo = answer_for_a_moment(&door(7_850..=7_859)).await.unwrap();
            let mut said = String::new();
            let mut stream = TcpStream::connect(echo.address).await.unwrap();
            stream.read_to_string(&mut said).await.unwrap();
            assert_eq!(said, echo.word);
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            socket.connect(echo.address).await.unwrap();
            socket.send(b"no word").await.unwrap();
            let sent = format!("{} and more", echo.word);
            socket.send(sent.as_bytes()).await.unwrap();
            let mut back = vec![0; ECHO_BYTES_MAX];
            let length = socket.recv(&mut back).await.unwrap();
            assert_eq!(&back[..length], sent.as_bytes());
        });
    }

    #[test]
    fn no_more_ports_answer_at_once_than_the_limit_says_or_are_free() {
        run(async {
            let many = door(7_860..=7_879);
            for _ in 0..ECHOES_MAX {
                assert!(answer_for_a_moment(&many).await.is_some());
            }
            assert_eq!(answer_for_a_moment(&many).await, None);
            let one = door(7_880..=7_880);
            assert!(answer_for_a_moment(&one).await.is_some());
            assert_eq!(answer_for_a_moment(&one).await, None);
        });
    }
}
