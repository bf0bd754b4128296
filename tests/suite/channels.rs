//! Many people to tell, by more than one way at once: the real program, with modems and a provider that are simulated.

use crate::gateway::{Site, flood};
use crate::peers::wait_for;
use kengele::sim::carrier::Carrier;
use kengele::sim::modem::{Settings, VirtualModem};
use kengele::sim::village;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

/// Households downstream, besides the village's own people.
const HOUSEHOLDS: usize = 60;

fn number(household: usize) -> String {
    format!("+2557000001{household:02}")
}

/// Has the gateway know `HOUSEHOLDS` more.
fn import_households(site: &Site) {
    let mut csv = String::from("name,number,role,language,areas,consent\n");
    for household in 0..HOUSEHOLDS {
        let number = number(household);
        writeln!(csv, "Kaya {household},{number},household,sw,bonde kijiji,yes").unwrap();
    }
    fs::write(site.file("households.csv"), csv).unwrap();
    site.kengele(&["people", "import", &site.file("households.csv")]);
}

/// Returns how many texts of danger each household has, over all networks.
fn told(carriers: &[&Carrier]) -> BTreeMap<usize, usize> {
    let texts = |household: usize| {
        let inboxes = carriers.iter().flat_map(|carrier| carrier.inbox(&number(household)));
        inboxes.filter(|received| received.text.starts_with("HATARI")).count()
    };
    (0..HOUSEHOLDS).map(|household| (household, texts(household))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_modems_share_the_list_and_nobody_is_told_twice() {
    let other = Carrier::seeded(2);
    let settings = Settings { own_number: "+255780000000".to_owned(), ..Settings::default() };
    let second = VirtualModem::start(settings, other.clone()).unwrap();
    let mut site = Site::of(|places| {
        let port = second.path().display().to_string();
        let modems = |text: String| {
            let text = text.replace("rate = \"20 per min\"", "rate = \"6000 per min\"");
            let text = text.replace("\nhold = \"5 min\"", "\nhold = \"0 s\"");
            let text = text.replace("[\"provider\", \"sim\"]", "[\"modem\"]");
            let text = text.replace("[\"sim\", \"provider\"]", "[\"modem\"]");
            let another = format!("[modem.voda]\nport = \"{port}\"\nrate = \"6000 per min\"\n");
            text.replace("[modem.sim]", &format!("{another}\n[modem.sim]"))
        };
        village::files(places).into_iter().map(|(name, text)| (name, modems(text))).collect()
    })
    .await;
    import_households(&site);
    site.start().await;
    assert!(flood(&site));
    let first = site.carrier.clone();
    wait_for("every household is told", || {
        told(&[&first, &other]).values().all(|count| *count > 0)
    })
    .await;
    assert!(told(&[&first, &other]).values().all(|count| *count == 1), "nobody is told twice");
    for carrier in [&first, &other] {
        let share: usize = told(&[carrier]).values().sum();
        assert!(share >= HOUSEHOLDS / 4, "both modems work: {share} of {HOUSEHOLDS}");
    }
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_takes_many_texts_in_a_request_is_asked_few_times() {
    let mut site = Site::of(|places| {
        let provider = |text: String| {
            let text = text.replace("\nhold = \"5 min\"", "\nhold = \"0 s\"");
            let text = text.replace("[\"sim\", \"provider\"]", "[\"provider\", \"sim\"]");
            let Some((before, _)) = text.split_once("[sms_provider.provider]") else { return text };
            let secret = places.folder.join("secrets/provider").display().to_string();
            format!(
                "{before}[sms_provider.provider]\npreset = \"africastalking\"\nurl = \"{}\"\nrate = \"100 per s\"\n\
                 settings = {{ username = \"kengele\" }}\nsecret_files = {{ api_key = \"{secret}\" }}\n",
                places.provider
            )
        };
        village::files(places).into_iter().map(|(name, text)| (name, provider(text))).collect()
    })
    .await;
    import_households(&site);
    site.start().await;
    assert!(flood(&site));
    let carrier = site.carrier.clone();
    wait_for("every household is told", || told(&[&carrier]).values().all(|count| *count > 0))
        .await;
    assert!(told(&[&carrier]).values().all(|count| *count == 1), "nobody is told twice");
    let (texts, requests) = (site.provider.submissions().len(), site.provider.requests());
    assert!(texts > HOUSEHOLDS, "{texts}");
    assert!(requests < 30, "{requests} requests for {texts} texts");
    site.stop().await;
}
