//! The card in the gateway: full, worn, copied while it is used, and put back into another one.

use crate::gateway::{AMINA, STORED, Site, flood, level, other_gauge};
use crate::peers::{program, wait_for};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

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

/// Asks a database that no gateway runs on.
fn sql(database: &Path, query: &str) -> String {
    let told = program("sqlite3").arg(database).arg(query).output().unwrap();
    assert!(told.status.success(), "{query}: {}", String::from_utf8_lossy(&told.stderr));
    String::from_utf8(told.stdout).unwrap().trim().to_owned()
}

/// Returns what a command says that fails.
fn refused(site: &Site, arguments: &[&str]) -> String {
    let output = site.command().args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_made_while_readings_go_on_and_holds_what_was_acknowledged_before() {
    let mut site = Site::new().await;
    site.start().await;
    assert!(flood(&site));
    let before = site.stored();
    let file = site.file("copy.db");
    // What a backup left that was cut off.
    fs::write(site.file("copy.db.part"), "half").unwrap();
    let more: String = (100..1100).map(|minute| level(minute, 90)).collect();
    let made = std::thread::scope(|scope| {
        let publishing = scope.spawn(|| site.mosquitto("field/mto-juu/up", &more, 60));
        let made = site.ask(&["backup", &file]);
        assert!(publishing.join().unwrap(), "every publication is acknowledged meanwhile");
        made
    });
    let count = |query: &str| sql(Path::new(&file), query).parse::<usize>().unwrap();
    let copied = count(STORED);
    assert!((before..=site.stored()).contains(&copied), "{before} {copied} {}", site.stored());
    assert_eq!(made["readings"], copied, "{made}");
    assert_eq!(made["recipients"], 13);
    assert_eq!(count("select count(*) from warning"), 1);
    assert_eq!(sql(Path::new(&file), "pragma integrity_check"), "ok");
    assert_eq!(sql(Path::new(&file), "pragma journal_mode"), "delete", "it needs no other file");
    let rights = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(rights & 0o777, 0o600, "it holds telephone numbers");
    assert!(!Path::new(&site.file("copy.db.part")).exists());
    assert!(made["notes"].to_string().contains("same disk"), "{made}");

    let said = refused(&site, &["backup", &file]);
    assert!(said.contains("is there already") && said.contains("--force"), "{said}");
    let said = site.kengele(&["backup", &file, "--force"]);
    assert!(said.contains("1 warning, 13 recipients") && said.contains("whole"), "{said}");
    assert_eq!(count(STORED), site.stored());
    site.stop().await;
    // With nobody running, the database is copied here.
    let alone = site.ask(&["backup", &site.file("alone.db")]);
    assert_eq!(alone["readings"], site.stored());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_says_what_stands_in_its_way_and_leaves_nothing_behind() {
    let mut site = Site::new().await;
    site.suffer("");
    site.start().await;
    assert!(flood(&site));
    let said = refused(&site, &["backup", &site.file("no-such-folder/copy.db")]);
    assert!(said.contains("there is no folder"), "{said}");
    let said = refused(&site, &["backup", "/proc/self/copy.db"]);
    assert!(said.contains("cannot write into /proc/self"), "{said}");
    fs::write(site.file("letter"), "to whom it may concern").unwrap();
    let said = refused(&site, &["backup", &site.file("letter"), "--force"]);
    assert!(said.contains("is no backup: it is not replaced"), "{said}");
    for own in ["kengele.db", "kengele.db-wal", "kengele.db.reserve", "lock"] {
        let path = site.database().with_file_name(own);
        let said = refused(&site, &["backup", &path.display().to_string(), "--force"]);
        assert!(said.contains("the gateway's own files"), "{own}: {said}");
    }
    site.suffer("narrow");
    let said = refused(&site, &["backup", &site.file("copy.db")]);
    assert!(said.contains("there is no room in"), "{said}");
    // It fills while the copy is written.
    fs::create_dir(site.file("stick")).unwrap();
    site.suffer("full");
    let said = refused(&site, &["backup", &site.file("stick/kengele.db.copy")]);
    assert!(said.contains("cannot write the backup into") && said.contains("full"), "{said}");
    assert_eq!(fs::read_dir(site.file("stick")).unwrap().count(), 0);
    site.suffer("rot");
    let said = refused(&site, &["backup", &site.file("copy.db")]);
    assert!(said.contains("read back") || said.contains("not good"), "{said}");
    site.suffer("");
    for left in ["copy.db", "copy.db.part"] {
        assert!(!Path::new(&site.file(left)).exists(), "{left}");
    }
    assert_eq!(fs::read_to_string(site.file("letter")).unwrap(), "to whom it may concern");
    site.kengele(&["backup", &site.file("copy.db")]);
    site.stop().await;
}

/// A rise that both gauges see, later than [`flood`].
fn flood_at(site: &Site, minute: i64) -> bool {
    let rise: String = (0..10).map(|i| level(minute + i64::from(i) * 5, 80 + i * 40)).collect();
    site.mosquitto("field/mto-juu/up", &rise, 20)
        && site.mosquitto("senml/mto-kati", &other_gauge(), 20)
}

/// A village that was warned of a flood and has a backup of that; its gateway is stopped.
async fn warned() -> (Site, String) {
    let mut site = Site::new().await;
    site.start().await;
    assert!(flood(&site));
    site.kengele(&["send-test", AMINA, "Jaribio", "--channel", "sim"]);
    let carrier = site.carrier.clone();
    wait_for("Amina reads of danger and the test", || {
        let texts: Vec<String> = carrier.inbox(AMINA).into_iter().map(|text| text.text).collect();
        texts.iter().any(|t| t.contains("HATARI")) && texts.iter().any(|t| t.contains("Jaribio"))
    })
    .await;
    wait_for("all is told", || {
        site.ask(&["status"])["outbox"]["queued"] == 0
            && site.ask(&["status"])["outbox"]["writing"] == 0
    })
    .await;
    let file = site.file("backup.db");
    site.kengele(&["backup", &file]);
    (site, file)
}

/// How many texts Amina has with this in it.
fn told(site: &Site, words: &str) -> usize {
    site.texts_of(AMINA).iter().filter(|text| text.contains(words)).count()
}

/// Makes a backup say that the danger and the test to Amina wait to be sent, as if it had been made a moment earlier.
fn let_wait(backup: &str) {
    let changed = sql(
        Path::new(backup),
        "update delivery set state = 'queued', attempt = null, decide_at_ms = null, ended_ms = null, attempts = 0, reached = 0, \
         channel = null where number = '+255700000001' and (body like 'HATARI%' or body like 'Jaribio%'); select changes();",
    );
    assert_eq!(changed, "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_brings_back_who_is_told_and_tells_nothing_twice_that_the_present_database_knows()
{
    let (mut site, file) = warned().await;
    let people = site.kengele(&["people", "export"]);
    site.kengele(&["people", "remove", AMINA]);
    let said = refused(&site, &["restore", &file]);
    assert!(said.contains("stop it first"), "{said}");
    site.stop().await;
    let_wait(&file);
    let said = site.ask(&["restore", &file]);
    assert_eq!((&said["recipients"], &said["next_warning"]), (&13.into(), &2.into()), "{said}");
    let replaced = said["replaced"].as_str().unwrap();
    assert_eq!(sql(Path::new(replaced), "select count(*) from recipient"), "12", "it is whole");
    assert_eq!(fs::metadata(site.database()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(site.kengele(&["people", "export"]), people);
    site.start().await;
    let status = site.ask(&["status"]);
    let open = &status["warnings"][0];
    assert_eq!((&open["warning"], &open["level"]), (&1.into(), &"danger".into()), "{status}");
    site.kengele(&["send-test", AMINA, "Mwisho", "--channel", "sim"]);
    wait_for("a text comes behind whatever waited", || told(&site, "Mwisho") == 1).await;
    assert_eq!((told(&site, "HATARI"), told(&site, "Jaribio")), (1, 1));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_death_of_a_card_danger_that_waited_goes_once_more_and_nothing_else_does() {
    let (mut site, file) = warned().await;
    site.stop().await;
    let_wait(&file);
    fs::remove_file(site.database()).unwrap();
    let said = site.ask(&["restore", &file]);
    assert_eq!(
        (&said["replaced"], &said["next_warning"]),
        (&Value::Null, &10_002.into()),
        "{said}"
    );
    // What is in doubt is waited for: the clock runs faster, and the alert holds for hours yet.
    site.start_at(60.0).await;
    wait_for("Amina reads of danger once more", || told(&site, "HATARI") == 2).await;
    let deliveries = site.ask(&["deliveries"]);
    let of_amina = |words: &str| {
        let rows = deliveries.as_array().unwrap().iter();
        let alert = words == "HATARI";
        let mut rows = rows.filter(|d| d["possible_duplicate"] == true || d["state"] == "unknown");
        rows.any(|d| d["warning"].is_number() == alert)
    };
    assert!(of_amina("HATARI") && of_amina("Jaribio"), "{deliveries}");
    site.kengele(&["send-test", AMINA, "Mwisho", "--channel", "sim"]);
    wait_for("a text comes behind whatever waited", || told(&site, "Mwisho") == 1).await;
    assert_eq!((told(&site, "HATARI"), told(&site, "Jaribio")), (2, 1));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_backup_of_which_nobody_knows_the_age_nothing_leaves_and_no_number_comes_again() {
    // Another computer, whose clock nobody has set by a network.
    let said = nothing_leaves_of("update boot set kernel = 'another'").await;
    assert!(said["notes"].to_string().contains("nothing says how old"), "{said}");
    assert_eq!(said["age_s"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_backup_of_two_hours_ago_nothing_leaves_although_its_alert_would_still_hold() {
    let said = nothing_leaves_of("update boot set uptime_ms = uptime_ms - 7200000").await;
    let notes = said["notes"].to_string();
    assert!(notes.contains("has run out") && !notes.contains("nothing says"), "{said}");
    assert_eq!(said["age_s"].as_u64().unwrap() / 600, 12, "two hours, and what the test took");
}

/// Restores a backup that was changed so, in which danger waits to be told. Returns what the restore said.
async fn nothing_leaves_of(change: &str) -> Value {
    let (mut site, file) = warned().await;
    site.stop().await;
    let_wait(&file);
    sql(Path::new(&file), change);
    fs::remove_file(site.database()).unwrap();
    let said = site.ask(&["restore", &file]);
    let ended = "select count(*) from delivery where body like 'HATARI%' and ended_ms is null";
    assert_eq!(sql(&site.database(), ended), "0");
    site.start().await;
    site.kengele(&["send-test", AMINA, "Mwisho", "--channel", "sim"]);
    wait_for("a text comes behind whatever waited", || told(&site, "Mwisho") == 1).await;
    assert_eq!((told(&site, "HATARI"), told(&site, "Jaribio")), (1, 1));
    let status = site.ask(&["status"]);
    assert_eq!(status["warnings"], serde_json::json!([]), "what was open has run out: {status}");
    let unix_ms = status["clock"]["unix_ms"].as_i64().unwrap();
    let now = fs::metadata("/proc/self").unwrap().modified().unwrap();
    let now =
        i64::try_from(now.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()).unwrap();
    assert!((unix_ms - now).abs() < 600_000, "the calendar stays: {unix_ms} {now}");
    // The next danger is a new warning, with a number that nobody knows; and so it stays after a power cut.
    assert!(flood_at(&site, 10_000));
    let number = |site: &Site| site.ask(&["status"])["warnings"][0]["warning"].clone();
    assert_eq!(number(&site), said["next_warning"]);
    site.kill();
    site.start().await;
    assert_eq!(number(&site), said["next_warning"]);
    wait_for("Amina reads of the new danger", || told(&site, "HATARI") == 2).await;
    site.stop().await;
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_whole_backup_is_not_put_back_and_changes_nothing() {
    let (mut site, file) = warned().await;
    site.stop().await;
    let people = site.kengele(&["people", "export"]);
    let before = fs::read(site.database()).unwrap();
    fs::write(site.file("letter"), "to whom it may concern").unwrap();
    sql(Path::new(&site.file("foreign.db")), "create table turn (id integer)");
    let page = fs::metadata(&file).unwrap().len() / 2 / 4096 * 4096;
    fs::copy(&file, site.file("rotten.db")).unwrap();
    let rotten = fs::OpenOptions::new().write(true).open(site.file("rotten.db")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&rotten, &[0xa5; 4096], page).unwrap();
    fs::copy(&file, site.file("newer.db")).unwrap();
    sql(
        Path::new(&site.file("newer.db")),
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time) values (9999, 'later', 1, x'', 0)",
    );
    for (name, words) in [
        ("missing.db", "there is no file"),
        ("letter", "nothing was changed"),
        ("foreign.db", "no database of a gateway"),
        ("rotten.db", "malformed"),
        ("newer.db", "newer version"),
    ] {
        let said = refused(&site, &["restore", &site.file(name)]);
        assert!(said.contains(words), "{name}: {said}");
        assert_eq!(fs::read(site.database()).unwrap(), before, "{name}");
    }
    assert_eq!(site.kengele(&["people", "export"]), people);
    let left = fs::read_dir(site.database().parent().unwrap()).unwrap();
    let left: Vec<String> =
        left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!left.iter().any(|name| name.contains("restor")), "{left:?}");
    // Into the place of a damaged one it goes.
    let garbage: Vec<u8> = (0..100_000u32).map(|i| i.to_le_bytes()[0]).collect();
    fs::write(site.database(), garbage).unwrap();
    site.kengele(&["restore", &file]);
    assert_eq!(site.kengele(&["people", "export"]), people);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_killed_at_any_moment_leaves_a_village_that_is_told() {
    let (mut site, file) = warned().await;
    let people = site.kengele(&["people", "export"]);
    site.stop().await;
    let data = site.database().parent().unwrap().to_path_buf();
    let has = |word: &str| {
        let names = fs::read_dir(&data).unwrap();
        names.flatten().any(|entry| entry.file_name().to_string_lossy().contains(word))
    };
    for moment in ["kengele.db.restoring", "kengele.db.restored", "kengele.replaced"] {
        let mut restoring = site.command().args(["restore", &file]).spawn().unwrap();
        while !has(moment) && restoring.try_wait().unwrap().is_none() {}
        // It may have ended in this very moment.
        let _killed = restoring.kill().is_ok();
        restoring.wait().unwrap();
        site.start().await;
        assert_eq!(site.kengele(&["people", "export"]), people, "{moment}");
        assert!(!has(".restor"), "{moment}");
        site.stop().await;
    }
}
