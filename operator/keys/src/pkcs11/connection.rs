//! The session with the token: opened when it is needed, and again when it was lost. Every call blocks.

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Function, Pkcs11 as Module};
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::AuthPin;
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::Settings;
use crate::KeyError;

/// Why an act on the token was not done.
pub(super) enum Fault {
    /// The token did its part.
    Key(KeyError),
    Token(Error),
}

impl From<KeyError> for Fault {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Token(error)
    }
}

impl Fault {
    /// Whether a new session may help.
    fn is_lost_session(&self) -> bool {
        use RvError::{
            CryptokiNotInitialized, DeviceError, DeviceMemory, DeviceRemoved, FunctionFailed, GeneralError,
            KeyHandleInvalid, ObjectHandleInvalid, OperationActive, SessionClosed, SessionHandleInvalid,
            SlotIdInvalid, TokenNotPresent, TokenNotRecognized, UserNotLoggedIn,
        };
        matches!(
            self,
            Self::Token(Error::Pkcs11(
                CryptokiNotInitialized
                    | DeviceError
                    | DeviceMemory
                    | DeviceRemoved
                    | FunctionFailed
                    | GeneralError
                    | KeyHandleInvalid
                    | ObjectHandleInvalid
                    | OperationActive
                    | SessionClosed
                    | SessionHandleInvalid
                    | SlotIdInvalid
                    | TokenNotPresent
                    | TokenNotRecognized
                    | UserNotLoggedIn,
                _
            ))
        )
    }

    fn into_key_error(self) -> KeyError {
        match self {
            Self::Key(error) => error,
            Self::Token(error) => KeyError::Unavailable(format!("the token: {error}")),
        }
    }
}

pub(super) struct Connection {
    settings: Settings,
    module: Module,
    session: Option<Session>,
    /// The token, as evidence names it.
    token: String,
    /// The digest of a PIN that the token refused.
    refused: Option<Vec<u8>>,
}

impl Connection {
    pub fn load(settings: Settings) -> Result<Self, KeyError> {
        let module = Module::new(&settings.module).map_err(|error| {
            KeyError::Invalid(format!(
                "the PKCS#11 module {}: {error}",
                settings.module.display()
            ))
        })?;
        Ok(Self {
            settings,
            module,
            session: None,
            token: String::new(),
            refused: None,
        })
    }

    /// Does something on the token, on a new session if the one at hand is lost.
    pub fn act<T>(&mut self, act: impl Fn(&Session) -> Result<T, Fault>) -> Result<T, KeyError> {
        if let Some(session) = &self.session {
            match logged_in(session).and_then(|()| act(session)) {
                Err(fault) if fault.is_lost_session() => {
                    warn!(reason = %fault.into_key_error(), "the session with the token is lost");
                }
                done => return done.map_err(Fault::into_key_error),
            }
        }
        let session = self.open()?;
        let done = act(&session);
        let lost = done.as_ref().is_err_and(Fault::is_lost_session);
        self.session = (!lost).then_some(session);
        done.map_err(Fault::into_key_error)
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    /// From the beginning: modules look for tokens when they are initialised. Nobody else in this process uses it.
    fn open(&mut self) -> Result<Session, KeyError> {
        let out_of_reach = |what: &str, error: Error| KeyError::Unavailable(format!("{what}: {error}"));
        if let Some(session) = self.session.take() {
            drop(session);
        }
        // A module that was never initialised refuses; so does one that has lost everything.
        let _ = self.module.clone().finalize();
        match self
            .module
            .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
        {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(out_of_reach("the PKCS#11 module", error)),
        }
        let (slot, token) = self.find()?;
        let session = self
            .module
            .open_rw_session(slot)
            .map_err(|error| out_of_reach("the token", error))?;
        self.log_in(&session)?;
        self.token = format!(
            "token {} ({} {}, serial number {})",
            token.label(),
            token.manufacturer_id(),
            token.model(),
            token.serial_number()
        );
        info!(token = self.token, "a session with the token is open");
        Ok(session)
    }

    /// The one token with the label.
    fn find(&self) -> Result<(Slot, TokenInfo), KeyError> {
        let label = &self.settings.token_label;
        let missing =
            |why: &str| KeyError::Unavailable(format!("there is no token with the label {label}{why}"));
        let slots = self
            .module
            .get_slots_with_token()
            .map_err(|error| missing(&format!(": {error}")))?;
        let named = |slot: Slot| {
            let token = self.module.get_token_info(slot).ok()?;
            (token.label() == label).then_some((slot, token))
        };
        let mut found = slots.into_iter().filter_map(named);
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => Err(KeyError::Invalid(format!(
                "more than one token has the label {label}"
            ))),
            (None, _) => Err(missing("")),
        }
    }

    fn log_in(&mut self, session: &Session) -> Result<(), KeyError> {
        let pin = read_pin(&self.settings.pin_file)?;
        let fingerprint = digest(&SHA256, pin.as_bytes()).as_ref().to_vec();
        let wrong = || {
            KeyError::Unavailable(format!(
                "the token refuses the PIN in {}; it is not tried again until the file changes",
                self.settings.pin_file.display()
            ))
        };
        if self.refused.as_ref() == Some(&fingerprint) {
            return Err(wrong());
        }
        match session.login(UserType::User, Some(&AuthPin::from(pin.as_str()))) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
                self.refused = None;
                Ok(())
            }
            Err(Error::Pkcs11(
                RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange | RvError::PinExpired,
                _,
            )) => {
                let error = wrong();
                self.refused = Some(fingerprint);
                Err(error)
            }
            Err(error) => Err(KeyError::Unavailable(format!("the login at the token: {error}"))),
        }
    }
}

/// To a session that was logged out a token shows no keys, as if there were none.
fn logged_in(session: &Session) -> Result<(), Fault> {
    match session.get_session_info()?.session_state() {
        SessionState::RwUser => Ok(()),
        _ => Err(Error::Pkcs11(RvError::UserNotLoggedIn, Function::GetSessionInfo).into()),
    }
}

fn read_pin(file: &Path) -> Result<Zeroizing<String>, KeyError> {
    let unreadable =
        |error| KeyError::Unavailable(format!("the PIN in {} can't be read: {error}", file.display()));
    let mut pin = std::fs::read_to_string(file)
        .map(Zeroizing::new)
        .map_err(unreadable)?;
    let length = pin.trim_end_matches(['\r', '\n']).len();
    pin.truncate(length);
    Ok(pin)
}
