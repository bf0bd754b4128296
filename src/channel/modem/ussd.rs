//! USSD: codes that are dialled to the operator, such as the one for the balance.

use super::port::{Port, Trouble};
use super::quirks::UssdForm;
use super::{Driver, Refused};
use crate::wire::at::{self, Class, Event, Final, News, Ussd};
use tokio::time::Instant;

impl Driver {
    /// Dials `code` and returns the network's text.
    ///
    /// The inner error is the network's or the modem's refusal, the outer one a modem that cannot be spoken to.
    pub(super) async fn dial(
        &mut self,
        port: &mut Port,
        code: &str,
    ) -> Result<Result<String, Refused>, Trouble> {
        let text = match self.quirks.ussd {
            UssdForm::Text if is_dialled(code) => Some(code.to_owned()),
            UssdForm::Packed if is_dialled(code) => at::pack_ussd(code),
            UssdForm::Text | UssdForm::Packed => None,
        };
        let Some(text) = text else {
            return Ok(Err(Refused("a code holds digits, * and # alone".to_owned())));
        };
        // A session left open, by us before a restart or by somebody else, would take the code as its answer.
        port.command("AT+CUSD=2").await?;
        port.news.retain(|news| !matches!(news, News::Ussd(_)));
        port.start(&format!("AT+CUSD=1,\"{text}\",15")).await?;
        let answer = self.await_ussd(port).await?;
        if answer.as_ref().is_ok_and(|answer| answer.status == 1) {
            port.command("AT+CUSD=2").await?;
        }
        Ok(answer.and_then(|answer| match answer.status {
            0 | 1 => Ok(at::ussd_text(&answer.text, answer.scheme)),
            2 if !answer.text.is_empty() => Ok(at::ussd_text(&answer.text, answer.scheme)),
            4 => Err(Refused("the network does not know the code".to_owned())),
            5 => Err(Refused("the network did not answer the code".to_owned())),
            _other => Err(Refused("the network ended the session".to_owned())),
        }))
    }

    /// Some modems say `OK` before the network's text, some after, and some never.
    async fn await_ussd(&mut self, port: &mut Port) -> Result<Result<Ussd, Refused>, Trouble> {
        let until = Instant::now() + self.settings.times.ussd;
        let mut seen = None;
        let mut done = false;
        while let Some(event) = port.next(until).await? {
            match event {
                Event::News(News::Ussd(ussd)) => seen = Some(ussd),
                Event::News(news) => port.keep_news(news),
                Event::Final(Final::Ok) => done = true,
                Event::Final(Final::Error(code)) => {
                    let hint = if code.class() == Class::UnknownOutcome {
                        "the modem refuses the code"
                    } else {
                        "the code was refused"
                    };
                    return Ok(Err(Refused(format!("{hint}: {code}"))));
                }
                Event::Final(Final::Connection(_))
                | Event::Line(_)
                | Event::Entry { .. }
                | Event::Prompt => {}
            }
            if done && let Some(ussd) = seen {
                return Ok(Ok(ussd));
            }
        }
        port.doubt();
        Ok(seen.ok_or_else(|| Refused("the network did not answer the code".to_owned())))
    }

    /// Asks for the balance as the settings say.
    pub(super) async fn ask_balance(
        &mut self,
        port: &mut Port,
    ) -> Result<Result<String, Refused>, Trouble> {
        let Some(balance) = self.settings.balance.clone() else {
            return Ok(Err(Refused("no code for the balance is configured".to_owned())));
        };
        let answer = match self.dial(port, &balance.code).await? {
            Ok(answer) => answer,
            Err(refused) => return Ok(Err(refused)),
        };
        let amount = balance.amount(&answer);
        if let Some(amount) = &amount {
            self.health.balance = Some(amount.clone());
            self.publish();
        }
        Ok(amount.ok_or_else(|| {
            Refused(
                "the operator's answer holds no amount where the settings look for it".to_owned(),
            )
        }))
    }
}

fn is_dialled(code: &str) -> bool {
    !code.is_empty()
        && code.len() <= 100
        && code.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'*' | b'#' | b'+'))
}
