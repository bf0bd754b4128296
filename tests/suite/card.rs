//! The card in the gateway: full, worn, copied while it is used, and put back into another one.

use crate::gateway::{AMINA, Site, flood, level};
use crate::peers::wait_for;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

/// Returns the path of a file beside the database.
fn beside(site: &Site, tail: &str) -> PathBuf {
    let mut name = site.database().into_os_string();
    name.push(tail);
    name.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn danger_that_comes_when_the_disk_is_full_is_stored_in_the_room_of_the_reserve() {
    let mut site = Site::new().await;
    site.suffer("");
    site.start().await;
    assert!(site.mosquitto("field/mto-juu/up", &level(-5, 70), 20), "there is room at first");
    assert_eq!(site.ask(&["status"])["disk"]["reserve"], "held");
    assert_eq!(fs::metadata(beside(&site, ".reserve")).unwrap().len(), 8 << 20);
    site.suffer("tight");
    assert!(flood(&site), "every publication is stored and acknowledged");
    let status = site.ask(&["status"]);
    assert_eq!(
        (&status["disk"]["works"], &status["disk"]["reserve"]),
        (&true.into(), &"given up".into())
    );
    assert_eq!(status["counters"]["write_failures"], 0, "{status}");
    assert!(site.kengele(&["status"]).contains("THE DISK WAS FULL"));
    assert!(site.log().contains("the reserve is given up"), "{}", site.log());
    assert!(!beside(&site, ".reserve").exists());
    let carrier = site.carrier.clone();
    wait_for("Amina reads of danger", || {
        carrier.inbox(AMINA).iter().any(|text| text.text.contains("HATARI"))
    })
    .await;
    // What is stored outlives a power cut: it was not only told from memory.
    site.kill();
    site.suffer("");
    let warnings = site.ask(&["warnings"]);
    assert_eq!(warnings[0]["level_max"], "danger", "{warnings}");
    site.start().await;
    assert_eq!(site.ask(&["status"])["disk"]["reserve"], "held", "there is room again");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_says_how_much_it_writes_for_a_reading() {
    let mut site = Site::new().await;
    site.start().await;
    assert!(flood(&site));
    let before = site.kernel_count("write_bytes");
    let disk = site.ask(&["status"])["disk"].clone();
    let after = site.kernel_count("write_bytes");
    let number = |key: &str| disk.get(key).and_then(Value::as_u64).unwrap();
    let readings = u64::try_from(site.stored()).unwrap();
    // The gateway counts from the moment at which its database was open.
    let written = number("written_bytes");
    assert!(written <= after && written + (1 << 20) >= before, "{before} {after} {disk}");
    assert_eq!(number("written_bytes_per_reading"), written / readings, "{disk}");
    assert!(number("free_bytes") > 0, "{disk}");
    assert!(site.kengele(&["status"]).contains("written since the start"));
    site.stop().await;
}
