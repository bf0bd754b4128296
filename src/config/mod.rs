//! The configuration: the file as written, checked into a `Config` or into every diagnostic.

mod diagnostic;
mod settings;

pub use diagnostic::{Diagnostic, Severity, Source};
pub use settings::{
    Area, Broker, Config, Credential, Field, Format, Gateway, Listener, ListenerLimits, Modem,
    Price, Protocol, Rate, RoleSettings, Sms, SmsProvider, Store, TimeField, TimeUnit, Timezone,
    TlsFiles, Topic, Webhook,
};
