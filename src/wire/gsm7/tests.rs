use super::*;
use proptest::prelude::*;

fn alphabet(locking: Option<Language>, single: Option<Language>) -> Alphabet {
    Alphabet { locking, single }
}

fn every_alphabet() -> impl Iterator<Item = Alphabet> {
    let choices = || std::iter::once(None).chain(Language::ALL.into_iter().map(Some));
    choices().flat_map(move |locking| choices().map(move |single| alphabet(locking, single)))
}

#[test]
fn capital_c_cedilla_is_in_the_default_alphabet_and_small_is_not() {
    assert_eq!(Alphabet::DEFAULT.encode("Ç"), Some(vec![0x09]));
    assert_eq!(Alphabet::DEFAULT.encode("ça"), None);
    assert_eq!(Alphabet::DEFAULT.septets('ç'), None);
}

#[test]
fn the_section_sign_is_in_the_default_alphabet_and_the_backtick_is_not() {
    assert_eq!(Alphabet::DEFAULT.encode("§"), Some(vec![0x5F]));
    assert_eq!(Alphabet::DEFAULT.encode("`"), None);
}

#[test]
fn characters_of_the_extension_table_take_two_septets() {
    assert_eq!(
        Alphabet::DEFAULT.encode("^{}\\[~]|€"),
        Some(vec![
            0x1B, 0x14, 0x1B, 0x28, 0x1B, 0x29, 0x1B, 0x2F, 0x1B, 0x3C, 0x1B, 0x3D, 0x1B, 0x3E,
            0x1B, 0x40, 0x1B, 0x65
        ])
    );
    assert_eq!(Alphabet::DEFAULT.septets('€'), Some(2));
    assert_eq!(Alphabet::DEFAULT.septets('E'), Some(1));
}

#[test]
fn the_whole_default_alphabet_stands_in_its_order() {
    // 3GPP TS 23.038 §6.2.1, read down the columns of the printed table; 0x1B is the escape.
    let printed = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\u{1B}ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
                   ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
    assert_eq!(printed.chars().count(), 128);
    for (code, c) in (0_u8..).zip(printed.chars()).filter(|(_, c)| *c != '\u{1B}') {
        assert_eq!(Alphabet::DEFAULT.encode(&c.to_string()), Some(vec![code]));
        assert_eq!(Alphabet::DEFAULT.decode(&[code]), c.to_string());
    }
    assert_eq!(Alphabet::DEFAULT.encode("\u{1B}"), None);
}

#[test]
fn a_code_behind_the_escape_that_the_table_lacks_is_read_by_the_main_table() {
    assert_eq!(Alphabet::DEFAULT.decode(&[0x1B, 0x41]), "A");
    let turkish = alphabet(Some(Language::Turkish), Some(Language::Turkish));
    assert_eq!(turkish.decode(&[0x1B, 0x60]), "ç");
}

#[test]
fn an_escape_with_nothing_or_another_escape_behind_it_is_a_space() {
    assert_eq!(Alphabet::DEFAULT.decode(&[0x1B]), " ");
    assert_eq!(Alphabet::DEFAULT.decode(&[0x1B, 0x1B, 0x65]), " e");
}

#[test]
fn a_code_that_no_table_knows_is_the_replacement_character() {
    assert_eq!(alphabet(Some(Language::Tamil), None).decode(&[0x00]), "\u{FFFD}");
}

#[test]
fn every_code_of_every_pair_of_tables_returns_to_its_character() {
    for alphabet in every_alphabet() {
        for code in (0..=0x7F_u8).filter(|code| *code != ESCAPE) {
            for septets in [vec![code], vec![ESCAPE, code]] {
                let text = alphabet.decode(&septets);
                if text == "\u{FFFD}" {
                    assert_eq!(alphabet.encode(&text), None);
                } else {
                    let again = alphabet.encode(&text).expect("a decoded character is in a table");
                    assert_eq!(alphabet.decode(&again), text, "{alphabet:?} {septets:02X?}");
                    assert!(again.len() <= septets.len());
                }
            }
        }
    }
}

#[test]
fn the_languages_of_india_and_pakistan_have_a_comma_and_the_apostrophe_behind_the_escape() {
    for language in Language::ALL.into_iter().filter(|language| language.id() >= 4) {
        let alphabet = alphabet(Some(language), Some(language));
        assert_eq!(alphabet.encode(",'"), Some(vec![0x2C, 0x1B, 0x09]), "{language:?}");
    }
}

#[test]
fn kannada_has_both_dda_and_pa() {
    let kannada = alphabet(Some(Language::Kannada), None);
    assert_eq!(kannada.encode("\u{CA1}\u{CAA}"), Some(vec![0x24, 0x3D]));
}

#[test]
fn turkish_and_portuguese_and_spanish_have_their_letters() {
    let turkish = alphabet(Some(Language::Turkish), None);
    assert_eq!(turkish.encode("ğışİç€"), Some(vec![0x0C, 0x07, 0x1D, 0x40, 0x60, 0x04]));
    let portuguese = alphabet(Some(Language::Portuguese), None);
    assert_eq!(portuguese.encode("ãõçáêú"), Some(vec![0x7B, 0x7C, 0x09, 0x0F, 0x04, 0x06]));
    let spanish = alphabet(None, Some(Language::Spanish));
    assert_eq!(spanish.encode("ríoñ"), Some(vec![0x72, 0x1B, 0x69, 0x6F, 0x7D]));
}

#[test]
fn bengali_lacks_the_danda_and_urdu_lacks_the_tanwin() {
    assert_eq!(alphabet(Some(Language::Bengali), Some(Language::Bengali)).septets('।'), None);
    let urdu = alphabet(Some(Language::Urdu), Some(Language::Urdu));
    assert_eq!(urdu.septets('\u{64B}'), None);
    assert_eq!(urdu.septets('۔'), Some(2));
    assert_eq!(alphabet(Some(Language::Hindi), Some(Language::Hindi)).septets('।'), Some(2));
}

#[test]
fn language_identifiers_return_and_others_are_unknown() {
    for language in Language::ALL {
        assert_eq!(Language::from_id(language.id()), Some(language));
        assert_eq!(Language::from_word(language.as_str()), Some(language));
    }
    assert_eq!(Language::from_id(0), None);
    assert_eq!(Language::from_id(14), None);
}

#[test]
fn eight_septets_fill_seven_octets() {
    // 3GPP TS 23.038 §6.1.2.1.1; "hellohello" is the customary example.
    let septets = Alphabet::DEFAULT.encode("hellohello").unwrap();
    let octets = [0xE8, 0x32, 0x9B, 0xFD, 0x46, 0x97, 0xD9, 0xEC, 0x37];
    assert_eq!(pack(&septets, 0), octets);
    assert_eq!(unpack(&octets, 10, 0), septets);
    assert_eq!(pack(&[0x7F; 160], 0).len(), 140);
}

#[test]
fn fill_bits_move_the_first_septet_up() {
    assert_eq!(pack(&[0x01], 1), [0x02]);
    assert_eq!(pack(&[0x7F, 0x7F], 1), [0xFE, 0x7F]);
    assert_eq!(pack(&[], 1), [0x00]);
    assert_eq!(unpack(&[0xFE, 0x7F], 2, 1), [0x7F, 0x7F]);
}

proptest! {
    #[test]
    fn packed_septets_return_at_any_offset(
        septets in prop::collection::vec(0_u8..0x80, 0..200),
        fill_bits in 0_u8..7,
    ) {
        let octets = pack(&septets, fill_bits);
        prop_assert_eq!(octets.len(), octets_for(septets.len(), fill_bits));
        prop_assert_eq!(unpack(&octets, septets.len(), fill_bits), septets);
    }

    #[test]
    fn unpacking_any_octets_gives_no_more_septets_than_they_hold(
        octets in prop::collection::vec(any::<u8>(), 0..200),
        count in any::<usize>(),
        fill_bits in any::<u8>(),
    ) {
        let septets = unpack(&octets, count, fill_bits);
        prop_assert!(septets.len() <= octets.len() * 8 / 7);
        prop_assert!(septets.iter().all(|septet| *septet < 0x80));
    }

    #[test]
    fn any_bytes_decode_to_some_text_in_every_alphabet(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        locking in 0_u8..14,
        single in 0_u8..14,
    ) {
        let alphabet = alphabet(Language::from_id(locking), Language::from_id(single));
        prop_assert!(alphabet.decode(&bytes).chars().count() <= bytes.len());
    }

    #[test]
    fn what_encodes_returns(text in "[ -~¡-ÿ€\u{900}-\u{97F}]{0,60}", locking in 0_u8..14, single in 0_u8..14) {
        let alphabet = alphabet(Language::from_id(locking), Language::from_id(single));
        if let Some(septets) = alphabet.encode(&text) {
            prop_assert_eq!(alphabet.decode(&septets), text);
        }
    }
}
