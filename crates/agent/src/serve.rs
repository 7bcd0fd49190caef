//! `serve`: the whole agent, from its start to its end. It listens for people at a socket of this host and
//! for other agents by TLS, and has threads that watch the store, the arbiter and the processes of this host.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use axum::{Extension, Router};
use caller::Found;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use link::KeyFile;
use os::sys::clock;
use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::api::{self, Caller, Desk, Door, Feed};
use crate::limits::{CONNECTIONS_MAX, FAREWELL_BYTES_MAX, JOINING_LASTS, STATUS_PATIENCE};
use crate::speed;
use controller::Program;
use controller::happenings::Happenings;
use controller::keeper::Keeper;
use controller::limits::{AGENT_PATIENCE, LOOK_EVERY};
use controller::lock;
use controller::mind::{self, Mind, Parts, Told};
use controller::processes::Processes;
use controller::scene::Scene;
use membership::client::notice_death;
use membership::config::Config;
use membership::identity::{Fingerprint, Identity, IdentityError};
use membership::joining;

/// Why an agent ends.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The site's key is of no use.
    #[error(transparent)]
    Key(#[from] link::KeyError),
    /// No certificate can be made of it.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A directory or socket cannot be used.
    #[error("cannot use {place} ({source})")]
    Place {
        /// The directory, socket or address.
        place: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// An agent runs here already.
    #[error("an agent runs here already, and answers at {0}")]
    Runs(PathBuf),
    /// This host gives no threads or no clock.
    #[error("this host gives no more threads ({0})")]
    Host(io::Error),
}

/// Runs an agent until SIGTERM or SIGINT. VMs go on without it. `ready` is called when it answers, with its
/// socket.
///
/// # Errors
/// It cannot begin.
pub fn serve(config: &Config, program: Program, ready: &mut dyn FnMut(&Path)) -> Result<(), AgentError> {
    let key = KeyFile {
        path: config.key.clone(),
        though_open: false,
    };
    let key = key.load()?;
    let identity = Identity::new(&key, &config.host)?;
    let door = Arc::new(Door::new(config, key, identity.authority, &program));
    let at = |place: &Path| {
        let place = place.display().to_string();
        move |source| AgentError::Place { place, source }
    };
    let processes = Processes::new(config, &program).map_err(at(&config.state_dir))?;
    let processes = Arc::new(Mutex::new(processes));
    let sockets = config.sockets(&program.sockets);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&sockets)
        .map_err(at(&sockets))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(AgentError::Host)?;
    let (tell, told) = channel();
    let first = Scene::empty(controller::scene::now(), plan::HostName::new(config.host.clone()));
    let (scene, seen) = watch::channel(Arc::new(first));
    let happenings = Arc::new(Happenings::new(&config.host, &config.state_dir));
    let keeper = Keeper::new(&config.directory);
    let ends = Arc::new(AtomicBool::new(false));
    let (ask, asked) = watch::channel(0);
    let tls = identity.client.clone();
    let feed = Feed::new(&config.host, os::entropy::random_u128() as u64);
    runtime.spawn(feed.clone().follow(seen.clone(), happenings.listen()));
    let (kept, running) = ((happenings.clone(), feed), processes.clone());
    let desk = Desk::new(seen, ask, keeper.clone(), running, kept, tls, (config, &program));
    let executable = program.executable.clone();
    let mind = Mind::new(Parts {
        config: config.clone(),
        program,
        identity: identity.clone(),
        keeper: keeper.clone(),
        processes,
        runtime: runtime.handle().clone(),
        tell: tell.clone(),
        scene,
        asked,
        happenings,
    });

    let socket = sockets.join("agent.sock");
    let listening = runtime.block_on(listen(&socket, config.agent_address()))?;
    begin_to_watch(&keeper, config, &mind, sockets, &tell, &ends).map_err(AgentError::Host)?;
    speed::measure(&executable, tell.clone()).map_err(AgentError::Host)?;
    drop(tell);
    let stop = ends.clone();
    let thinking = std::thread::Builder::new()
        .name("mind".into())
        .spawn(move || mind.think(&told, &|| stop.load(Ordering::Relaxed)))
        .map_err(AgentError::Host)?;
    ready(&socket);
    let doors = Doors::new(desk, door, &identity)?;
    runtime.block_on(answer(listening, doors))?;
    ends.store(true, Ordering::Relaxed);
    // It looks at `ends` within one look; a panic of its has ended the process.
    let _ = thinking.join();
    // The next agent would find out that nobody listens, and so would a caller.
    let _ = fs::remove_file(&socket);
    runtime.shutdown_background();
    Ok(())
}

/// Starts the threads that tell the mind what happens.
fn begin_to_watch(
    keeper: &Keeper,
    config: &Config,
    mind: &Mind,
    sockets: PathBuf,
    tell: &Sender<Told>,
    ends: &Arc<AtomicBool>,
) -> io::Result<()> {
    let (watched, arbiter) = (tell.clone(), config.arbiter.place.clone());
    keeper.watch(ends.clone(), move |seen| watched.send(Told::Store(seen)).is_ok())?;
    mind::watch_ownership(arbiter, mind.wanted_owners(), tell.clone(), ends.clone())?;
    watch_processes(sockets, tell.clone(), ends.clone())
}

/// Listens for people and for other agents.
async fn listen(socket: &Path, address: SocketAddr) -> Result<(UnixListener, TcpListener), AgentError> {
    let local = listen_here(socket)?;
    let others = TcpListener::bind(address)
        .await
        .map_err(|source| AgentError::Place {
            place: address.to_string(),
            source,
        })?;
    Ok((local, others))
}

/// Listens at the agent's socket; the file of an agent that has died is removed.
fn listen_here(socket: &Path) -> Result<UnixListener, AgentError> {
    let place = |source| AgentError::Place {
        place: socket.display().to_string(),
        source,
    };
    let is_socket = fs::symlink_metadata(socket).is_ok_and(|file| file.file_type().is_socket());
    if is_socket {
        match std::os::unix::net::UnixStream::connect(socket) {
            Ok(_) => return Err(AgentError::Runs(socket.into())),
            Err(_) => fs::remove_file(socket).map_err(place)?,
        }
    }
    // The file is made with its mode: nobody else can call in between. No other thread makes a file yet.
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o117));
    let listener = UnixListener::bind(socket);
    rustix::process::umask(before);
    listener.map_err(place)
}

/// The ways in, and what is answered to those who come.
#[derive(Clone)]
struct Doors {
    /// For people and other agents.
    routes: Router,
    /// What another agent must show.
    agents: Arc<ServerConfig>,
    /// For hosts that join.
    newcomers: Router,
    /// What a host that joins must show.
    joining: Arc<ServerConfig>,
}

impl Doors {
    fn new(desk: Desk, door: Arc<Door>, identity: &Identity) -> Result<Doors, IdentityError> {
        Ok(Doors {
            joining: joining::server(identity, door.tokens.clone())?,
            agents: identity.server.clone(),
            newcomers: api::newcomers(desk.clone(), door.clone()),
            routes: api::router(desk).layer(Extension(door)),
        })
    }
}

/// Answers all callers until a signal asks for the end.
async fn answer((local, others): (UnixListener, TcpListener), doors: Doors) -> Result<(), AgentError> {
    let mut terminated = signal(SignalKind::terminate()).map_err(AgentError::Host)?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(AgentError::Host)?;
    // Strangers who call keep nobody of this host out.
    let places = || Arc::new(Semaphore::new(CONNECTIONS_MAX));
    tokio::select! {
        () = answer_here(local, doors.routes.clone(), places()) => {}
        () = answer_others(others, doors, places()) => {}
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
    Ok(())
}

/// Answers people of this host.
async fn answer_here(listener: UnixListener, routes: Router, places: Arc<Semaphore>) {
    let accept = async || listener.accept().await.map(|(stream, _)| stream);
    answer_each(accept, places, |stream| {
        let uid = stream.peer_cred().map(|peer| peer.uid());
        let caller = Caller {
            name: uid.map_or_else(|_| "somebody".into(), name_of),
            is_agent: false,
        };
        converse(stream, routes.clone().layer(Extension(caller)))
    })
    .await;
}

/// Answers other agents, and hosts that join.
async fn answer_others(listener: TcpListener, doors: Doors, places: Arc<Semaphore>) {
    let caller = Caller {
        name: "another agent".into(),
        is_agent: true,
    };
    let doors = Doors {
        routes: doors.routes.layer(Extension(caller)),
        ..doors
    };
    let accept = async || listener.accept().await.map(|(stream, _)| stream);
    answer_each(accept, places, |stream| {
        let doors = doors.clone();
        async move {
            // Answers are small, and somebody waits for them; a socket that does not take it is as good.
            let _ = stream.set_nodelay(true);
            let _ = notice_death(&stream);
            match tokio::time::timeout(AGENT_PATIENCE, admit(stream, doors)).await {
                Ok(Some(Guest::Agent(stream, routes))) => converse(stream, routes).await,
                Ok(Some(Guest::Newcomer(stream, routes))) => {
                    // Whoever has not joined by then begins anew.
                    let _ = tokio::time::timeout(JOINING_LASTS, converse(stream, routes)).await;
                }
                Ok(None) | Err(_) => {}
            }
        }
    })
    .await;
}

/// Answers each caller that comes by `accept`, as many at once as there are places.
async fn answer_each<S, W>(
    accept: impl AsyncFn() -> io::Result<S>,
    places: Arc<Semaphore>,
    answer: impl Fn(S) -> W,
) where
    W: Future<Output = ()> + Send + 'static,
{
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let Ok(stream) = accept().await else {
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        };
        let answered = answer(stream);
        tokio::spawn(async move {
            answered.await;
            drop(place);
        });
    }
}

/// Who has called from another host, with the stream to the caller and what is answered to it.
enum Guest {
    /// Another agent, which gets the routes of all callers.
    Agent(TlsStream<TcpStream>, Router),
    /// A host that joins, which gets the three questions of its own.
    Newcomer(TlsStream<TcpStream>, Router),
}

/// Looks who calls; `None`: nobody who may.
async fn admit(stream: TcpStream, doors: Doors) -> Option<Guest> {
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await.ok()?;
    let joins = hello
        .client_hello()
        .alpn()
        .is_some_and(|mut asked| asked.any(|protocol| protocol == joining::PROTOCOL));
    let config = if joins { &doors.joining } else { &doors.agents };
    match hello.into_stream(config.clone()).into_fallible().await {
        Ok(stream) if joins => {
            let shown = stream.get_ref().1.peer_certificates()?.first()?;
            let of = Fingerprint::of(shown).ok()?;
            Some(Guest::Newcomer(stream, doors.newcomers.layer(Extension(of))))
        }
        Ok(stream) => Some(Guest::Agent(stream, doors.routes)),
        Err((error, stream)) => {
            tracing::debug!("a caller is not of the site: {error}");
            part(stream).await;
            None
        }
    }
}

/// Closes the connection of a caller who was told by TLS why it is refused. A connection that is closed with
/// something unread in it is reset, and the caller may lose what it was told.
async fn part(mut stream: TcpStream) {
    if stream.shutdown().await.is_ok() {
        let unread = FAREWELL_BYTES_MAX as u64;
        // The caller may hang up in any way.
        let _ = tokio::io::copy(&mut stream.take(unread), &mut tokio::io::sink()).await;
    }
}

/// Answers one caller until it hangs up.
async fn converse<S>(stream: S, routes: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(routes);
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A connection that becomes a passage is the passage's from then on.
    if let Err(error) = connection.with_upgrades().await {
        tracing::debug!("a caller has hung up: {error}");
    }
}

/// The name of a user of this host.
fn name_of(uid: u32) -> String {
    let text = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    });
    name.map_or_else(|| format!("user {uid}"), str::to_owned)
}

/// Asks the processes of this host how their VMs are, and hears what happens to them.
fn watch_processes(directory: PathBuf, tell: Sender<Told>, ends: Arc<AtomicBool>) -> io::Result<()> {
    let followed = Arc::new(Mutex::new(BTreeSet::new()));
    std::thread::Builder::new()
        .name("processes".into())
        .spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                let found = caller::find(&directory, None);
                for process in &found {
                    follow(process, &followed, &tell);
                }
                let at = clock::now();
                match caller::statuses(&found, STATUS_PATIENCE) {
                    Ok(statuses) => {
                        if tell.send(Told::Statuses(at, statuses)).is_err() {
                            return;
                        }
                    }
                    Err(error) => tracing::warn!("{error}"),
                }
                std::thread::sleep(LOOK_EVERY);
            }
        })?;
    Ok(())
}

/// Hears what happens in a process, on a thread of its own, unless somebody does already.
fn follow(process: &Found, followed: &Arc<Mutex<BTreeSet<String>>>, tell: &Sender<Told>) {
    let name = format!("{process:?}");
    if !lock(followed).insert(name.clone()) {
        return;
    }
    let (process, heard, tell, key) = (process.clone(), followed.clone(), tell.clone(), name.clone());
    let thread = std::thread::Builder::new().name("events".into()).spawn(move || {
        let ended = caller::events(&process, true, &mut |line| {
            if let Ok(line) = serde_json::from_str(line) {
                // Nobody listens any more when the agent ends.
                let _ = tell.send(Told::Happened(Box::new(line)));
            }
        });
        if let Err(error) = ended {
            tracing::debug!("{error}");
        }
        // By then the socket of a process that has ended is gone; another one is heard anew.
        std::thread::sleep(LOOK_EVERY);
        lock(&heard).remove(&key);
    });
    if thread.is_err() {
        lock(followed).remove(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_who_is_refused_is_not_read_for_ever() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let calling = TcpStream::connect(address);
            let (caller, accepted) = tokio::join!(calling, listener.accept());
            let (mut caller, stream) = (caller.unwrap(), accepted.unwrap().0);
            // The caller goes on without hanging up, and reads that it is refused.
            let words = vec![0; FAREWELL_BYTES_MAX];
            let (_, written) = tokio::join!(part(stream), caller.write_all(&words));
            written.unwrap();
            assert_eq!(caller.read(&mut [0; 1]).await.unwrap(), 0);
        });
    }
}
