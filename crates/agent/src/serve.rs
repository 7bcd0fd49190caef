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
use control::Found;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use link::KeyFile;
use os::sys::clock;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::Program;
use crate::api::{self, Caller, Desk};
use crate::config::Config;
use crate::happenings::Happenings;
use crate::identity::{Identity, IdentityError};
use crate::keeper::Keeper;
use crate::limits::{CONNECTIONS_MAX, LOOK_EVERY, STATUS_PATIENCE};
use crate::lock;
use crate::mind::{self, Mind, Parts, Told};
use crate::processes::Processes;
use crate::scene::Scene;

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
    let identity = Identity::new(&key.load()?, &config.host)?;
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
    let first = Scene::empty(crate::scene::now(), plan::HostName::new(config.host.clone()));
    let (scene, seen) = watch::channel(Arc::new(first));
    let happenings = Arc::new(Happenings::new(&config.host, &config.state_dir));
    let keeper = Keeper::new(&config.directory);
    let ends = Arc::new(AtomicBool::new(false));
    let (ask, asked) = watch::channel(0);
    let tls = identity.client.clone();
    let (kept, running) = (happenings.clone(), processes.clone());
    let desk = Desk::new(seen, ask, keeper.clone(), running, kept, tls, (config, &program));
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
    drop(tell);
    let stop = ends.clone();
    let thinking = std::thread::Builder::new()
        .name("mind".into())
        .spawn(move || mind.think(&told, &|| stop.load(Ordering::Relaxed)))
        .map_err(AgentError::Host)?;
    ready(&socket);
    runtime.block_on(answer(listening, api::router(desk), &identity))?;
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
    let (watched, path) = (tell.clone(), config.arbiter.path.clone());
    keeper.watch(ends.clone(), move |seen| watched.send(Told::Store(seen)).is_ok())?;
    mind::watch_ownership(path, mind.wanted_owners(), tell.clone(), ends.clone())?;
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

/// Answers all callers until a signal asks for the end.
async fn answer(
    (local, others): (UnixListener, TcpListener),
    routes: Router,
    identity: &Identity,
) -> Result<(), AgentError> {
    let mut terminated = signal(SignalKind::terminate()).map_err(AgentError::Host)?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(AgentError::Host)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let acceptor = TlsAcceptor::from(identity.server.clone());
    tokio::select! {
        () = answer_here(local, routes.clone(), places.clone()) => {}
        () = answer_others(others, routes, acceptor, places) => {}
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
    Ok(())
}

async fn answer_here(listener: UnixListener, routes: Router, places: Arc<Semaphore>) {
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        };
        let uid = stream.peer_cred().map(|peer| peer.uid());
        let caller = Caller {
            name: uid.map_or_else(|_| "somebody".into(), name_of),
            is_agent: false,
        };
        let routes = routes.clone().layer(Extension(caller));
        tokio::spawn(async move {
            converse(stream, routes).await;
            drop(place);
        });
    }
}

async fn answer_others(listener: TcpListener, routes: Router, acceptor: TlsAcceptor, places: Arc<Semaphore>) {
    let caller = Caller {
        name: "another agent".into(),
        is_agent: true,
    };
    let routes = routes.layer(Extension(caller));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        };
        let (acceptor, routes) = (acceptor.clone(), routes.clone());
        tokio::spawn(async move {
            // Answers are small, and somebody waits for them; a socket that does not take it is as good.
            let _ = stream.set_nodelay(true);
            let shake = tokio::time::timeout(crate::limits::AGENT_PATIENCE, acceptor.accept(stream));
            match shake.await {
                Ok(Ok(stream)) => converse(stream, routes).await,
                Ok(Err(error)) => tracing::debug!("a caller is not of the site: {error}"),
                Err(_) => {}
            }
            drop(place);
        });
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
                let found = control::find(&directory, None);
                for process in &found {
                    follow(process, &followed, &tell);
                }
                let at = clock::now();
                match control::statuses(&found, STATUS_PATIENCE) {
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
        let ended = control::events(&process, true, &mut |line| {
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
