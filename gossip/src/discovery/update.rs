//! Asks and changes a zone's primary server: one TCP connection, one request at a time, each update
//! signed by TSIG.
//!
//! The library's own client is not used here. It takes what a server that refuses our key answers,
//! which cannot be signed, for a broken signature, and drops the reason that a person needs: is it the
//! name of the key, its secret, or the clock?

use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use hickory_client::proto::ProtoError;
use hickory_client::proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_client::proto::rr::rdata::tsig::TsigError;
use hickory_client::proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::dns::MeshName;
use super::key_file::{FUDGE_SECS, TsigKey};
use super::resolve::LookupError;

/// How long a server may take over one connection or answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to a DNS server. After an error it is of no further use.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    server: SocketAddr,
}

/// Why records were not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// No server was given, and DNS does not lead to the zone's own.
    #[error("cannot tell which DNS server has the zone of {name} ({reason}): give it with --dns-server")]
    NoServer {
        /// The mesh's name.
        name: String,
        /// What the look-up says.
        reason: LookupError,
    },
    /// The server cannot be reached, or does not speak DNS.
    #[error("the DNS server {server} cannot be asked: {reason}")]
    Unreachable {
        /// Which server.
        server: SocketAddr,
        /// What went wrong.
        reason: String,
    },
    /// The server has no zone that the name is in.
    #[error("the DNS server {server} has no zone for {name}: add it there, or give the server that has it")]
    NoZone {
        /// Which server.
        server: SocketAddr,
        /// The mesh's name.
        name: String,
    },
    /// The server does not know our key.
    #[error("the DNS server {server} does not know the key {key}: add it there, with the same algorithm")]
    UnknownKey {
        /// Which server.
        server: SocketAddr,
        /// The key's name.
        key: String,
    },
    /// The server has another secret for our key.
    #[error("the DNS server {server} has another secret for the key {key}")]
    WrongSecret {
        /// Which server.
        server: SocketAddr,
        /// The key's name.
        key: String,
    },
    /// The clocks are too far apart.
    #[error("the clock of the DNS server {server} and ours are more than {FUDGE_SECS} s apart: set them")]
    WrongTime {
        /// Which server.
        server: SocketAddr,
    },
    /// The server knows our key, and does not let it change these records.
    #[error("the DNS server {server} does not let the key {key} change {name}: allow it in the zone's update policy")]
    Refused {
        /// Which server.
        server: SocketAddr,
        /// The key's name.
        key: String,
        /// The mesh's name.
        name: String,
    },
    /// The server cannot do it. BIND answers so from the 101st peer on, unless told otherwise.
    #[error(
        "the DNS server {server} failed: see its log; BIND takes 100 peers under one name, and more with \
         `max-records-per-type 0` in the zone"
    )]
    ServerFailure {
        /// Which server.
        server: SocketAddr,
    },
    /// The server answers with another error.
    #[error("the DNS server {server} answers {code}")]
    Failed {
        /// Which server.
        server: SocketAddr,
        /// The answer's code.
        code: ResponseCode,
    },
    /// The answer is not signed by our key: it may be anybody's.
    #[error("the answer of the DNS server {server} is not signed with the key {key}: {reason}")]
    Unsigned {
        /// Which server.
        server: SocketAddr,
        /// The key's name.
        key: String,
        /// What the library says.
        reason: String,
    },
}

impl Connection {
    /// Connects to a server.
    ///
    /// # Errors
    /// [`UpdateError::Unreachable`].
    pub(super) async fn open(server: SocketAddr) -> Result<Connection, UpdateError> {
        let stream = bounded(server, TcpStream::connect(server)).await?;
        Ok(Connection { stream, server })
    }

    /// Whom it is to.
    pub(super) fn server(&self) -> SocketAddr {
        self.server
    }

    /// The zone that a mesh's name is in, of those the server has.
    ///
    /// # Errors
    /// [`UpdateError`].
    pub(super) async fn zone_of(&mut self, mesh: &MeshName) -> Result<Name, UpdateError> {
        let answer = self.query(mesh.as_name().clone(), RecordType::SOA).await?;
        // In the answer if the zone begins at the name, else with "no such record".
        let mut records = answer.answers.iter().chain(&answer.authorities);
        let is_zone = |record: &&Record| {
            matches!(record.data, RData::SOA(_)) && !record.name.is_root() && record.name.zone_of(mesh.as_name())
        };
        match records.find(is_zone) {
            Some(soa) if answer.authoritative => Ok(soa.name.clone()),
            _ => Err(UpdateError::NoZone { server: self.server, name: mesh.to_string() }),
        }
    }

    /// The records of a name and type; none if there are none.
    ///
    /// # Errors
    /// [`UpdateError::Unreachable`].
    pub(super) async fn records(&mut self, name: Name, kind: RecordType) -> Result<Vec<Record>, UpdateError> {
        Ok(self.query(name, kind).await?.answers.clone())
    }

    /// Carries out an update of the records of `mesh`.
    ///
    /// # Errors
    /// [`UpdateError`]. Then nothing is changed, except perhaps after [`UpdateError::Unreachable`] and
    /// [`UpdateError::Unsigned`].
    pub(super) async fn update(
        &mut self,
        mut message: Message,
        key: &TsigKey,
        mesh: &MeshName,
    ) -> Result<(), UpdateError> {
        let server = self.server;
        let signed = message.finalize(key.signer(), unix_time()).map_err(|error| self.broken(&error))?;
        let mut verifier = signed.expect("a TSIG signer gives the verifier of the answer");
        let bytes = self.exchange(&message).await?;
        let answer = self.decode(&message, &bytes)?;
        let name = key.name().to_ascii();
        // A server that does not know the key, or its secret, cannot sign what it answers. To trust that
        // costs nothing: a forged answer can only make us try again.
        match answer.signature().and_then(|tsig| tsig.data.error) {
            Some(TsigError::BadKey) => return Err(UpdateError::UnknownKey { server, key: name }),
            Some(TsigError::BadSig | TsigError::BadTrunc) => {
                return Err(UpdateError::WrongSecret { server, key: name });
            }
            Some(TsigError::BadTime) => return Err(UpdateError::WrongTime { server }),
            Some(TsigError::Unknown(_)) | None => {}
        }
        match answer.response_code {
            ResponseCode::NoError => {}
            ResponseCode::Refused => {
                return Err(UpdateError::Refused { server, key: name, name: mesh.to_string() });
            }
            ResponseCode::NotAuth | ResponseCode::NotZone => {
                return Err(UpdateError::NoZone { server, name: mesh.to_string() });
            }
            ResponseCode::ServFail => return Err(UpdateError::ServerFailure { server }),
            code => return Err(UpdateError::Failed { server, code }),
        }
        let unsigned = |error: ProtoError| UpdateError::Unsigned { server, key: name, reason: error.to_string() };
        verifier.verify(&bytes).map(drop).map_err(unsigned)
    }

    async fn query(&mut self, name: Name, kind: RecordType) -> Result<Message, UpdateError> {
        let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Query);
        message.add_query(Query::query(name, kind));
        let bytes = self.exchange(&message).await?;
        self.decode(&message, &bytes)
    }

    /// One request and its answer, each with its length in front (RFC 1035 §4.2.2).
    async fn exchange(&mut self, request: &Message) -> Result<Vec<u8>, UpdateError> {
        let request = request.to_vec().map_err(|error| self.broken(&error))?;
        let length = u16::try_from(request.len()).map_err(|error| self.broken(&error))?;
        let framed = [&length.to_be_bytes()[..], &request].concat();
        let stream = &mut self.stream;
        let exchanged = async {
            stream.write_all(&framed).await?;
            let mut answer = vec![0; usize::from(stream.read_u16().await?)];
            stream.read_exact(&mut answer).await?;
            Ok(answer)
        };
        bounded(self.server, exchanged).await
    }

    fn decode(&self, request: &Message, bytes: &[u8]) -> Result<Message, UpdateError> {
        let answer = Message::from_vec(bytes).map_err(|error| self.broken(&error))?;
        if answer.id != request.id || answer.message_type != MessageType::Response {
            return Err(self.broken(&"it answers something else"));
        }
        Ok(answer)
    }

    fn broken(&self, reason: &dyn ToString) -> UpdateError {
        UpdateError::Unreachable { server: self.server, reason: reason.to_string() }
    }
}

async fn bounded<T>(server: SocketAddr, asked: impl Future<Output = std::io::Result<T>>) -> Result<T, UpdateError> {
    let reason = match tokio::time::timeout(TIMEOUT, asked).await {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", TIMEOUT.as_secs()),
    };
    Err(UpdateError::Unreachable { server, reason })
}

/// Seconds since 1970: a clock before that would fail at the server, which says so.
fn unix_time() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_client::proto::rr::rdata::TSIG;
    use hickory_client::proto::rr::rdata::tsig::{TsigAlgorithm, make_tsig_record};
    use tokio::net::TcpListener;

    use super::super::records;
    use super::*;

    #[tokio::test]
    async fn only_an_answer_signed_with_our_key_is_success() {
        type Want = fn(&UpdateError) -> bool;
        let cases: [(ResponseCode, Option<Option<TsigError>>, Want); 9] = [
            // code, TSIG record and its error; none of the answers is signed
            (ResponseCode::NoError, None, |e| matches!(e, UpdateError::Unsigned { .. })),
            (ResponseCode::NoError, Some(None), |e| matches!(e, UpdateError::Unsigned { .. })),
            (ResponseCode::NotAuth, Some(Some(TsigError::BadTime)), |e| matches!(e, UpdateError::WrongTime { .. })),
            (ResponseCode::NotAuth, Some(Some(TsigError::BadKey)), |e| matches!(e, UpdateError::UnknownKey { .. })),
            (ResponseCode::NotAuth, Some(Some(TsigError::BadSig)), |e| matches!(e, UpdateError::WrongSecret { .. })),
            (ResponseCode::NotAuth, None, |e| matches!(e, UpdateError::NoZone { .. })),
            (ResponseCode::Refused, None, |e| matches!(e, UpdateError::Refused { .. })),
            (ResponseCode::ServFail, None, |e| matches!(e, UpdateError::ServerFailure { .. })),
            (ResponseCode::NotImp, None, |e| matches!(e, UpdateError::Failed { code: ResponseCode::NotImp, .. })),
        ];
        for (code, tsig, want) in cases {
            let error = answered(|request| {
                let mut answer = Message::response(request.id, OpCode::Update);
                answer.metadata.response_code = code;
                if let Some(error) = tsig {
                    answer.set_signature(Box::new(unsigned(request.id, error)));
                }
                answer.to_vec().unwrap()
            })
            .await
            .unwrap_err();
            assert!(want(&error), "{code} {tsig:?}: {error:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_none_is_an_error() {
        type Answer = fn(&Message) -> Vec<u8>;
        let cases: [(&str, Answer); 4] = [
            ("nothing", |_| Vec::new()),
            ("no message", |_| vec![0xff; 40]),
            ("the request", |request| request.to_vec().unwrap()),
            ("to another request", |request| {
                Message::response(request.id.wrapping_add(1), OpCode::Update).to_vec().unwrap()
            }),
        ];
        for (what, answer) in cases {
            let error = answered(answer).await.unwrap_err();
            assert!(matches!(error, UpdateError::Unreachable { .. }), "{what}: {error:?}");
        }
    }

    /// What an update comes to if the server says this.
    async fn answered(answer: impl Fn(&Message) -> Vec<u8>) -> Result<(), UpdateError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let server = listener.local_addr().unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut request).await.unwrap();
            let answer = answer(&Message::from_vec(&request).unwrap());
            stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        };
        let update = async {
            let mesh = MeshName::default();
            let key = "key k { algorithm hmac-sha256; secret \"c2VjcmV0\"; };".parse().unwrap();
            let message = records::update(mesh.as_name(), Vec::new(), Vec::new());
            Connection::open(server).await?.update(message, &key, &mesh).await
        };
        tokio::join!(serve, update).1
    }

    fn unsigned(id: u16, error: Option<TsigError>) -> Record<TSIG> {
        let tsig = TSIG::new(TsigAlgorithm::HmacSha256, unix_time(), FUDGE_SECS, Vec::new(), id, error, Vec::new());
        make_tsig_record(Name::from_ascii("k.").unwrap(), tsig)
    }
}
