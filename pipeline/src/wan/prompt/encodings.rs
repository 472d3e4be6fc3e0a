//! The single-byte encodings in which UTF-8 is most often read by mistake, as tables of 128 characters.
//!
//! The first 128 bytes are ASCII in all of them. Tables: <https://www.unicode.org/Public/MAPPINGS/>; the Windows ones are
//! complete as browsers have them: a byte without a meaning is the character of the same number.

/// An encoding of one byte a character.
pub(super) struct SingleByte {
    /// The characters of bytes 0x80 to 0xFF; `.` is the character of the same number.
    upper: &'static str,
    /// Whether byte 0x1A is U+FFFD, the mark that an earlier program put where it could not read a character.
    pub(super) replaces: bool,
    /// Whether a space may have been U+00A0. In Macintosh Roman that pattern is an en dash and a space: common text.
    pub(super) restores_spaces: bool,
}

/// The byte that stands for [`char::REPLACEMENT_CHARACTER`].
pub(super) const SUBSTITUTE: u8 = 0x1A;

pub(super) static WINDOWS_1252: SingleByte = SingleByte::new(WINDOWS_1252_UPPER).replacing();

/// All encodings, in the order in which they are tried.
pub(super) static ALL: [&SingleByte; 10] = [
    &SingleByte::new(LATIN_1_UPPER),
    &WINDOWS_1252,
    &SingleByte::new(WINDOWS_1251_UPPER).replacing(),
    &SingleByte::new(WINDOWS_1250_UPPER).replacing(),
    &SingleByte::new(WINDOWS_1253_UPPER).replacing(),
    &SingleByte::new(WINDOWS_1254_UPPER).replacing(),
    &SingleByte::new(WINDOWS_1257_UPPER).replacing(),
    &SingleByte::new(ISO_8859_2_UPPER),
    &SingleByte { restores_spaces: false, ..SingleByte::new(MACINTOSH_UPPER) },
    &SingleByte::new(CP437_UPPER),
];

/// Encodings whose letters stand where Latin-1 has them. A byte of UTF-8 that is read as one of these becomes a character
/// whose kind tells what the byte was.
pub(super) static LIKE_LATIN_1: &[&SingleByte] = {
    let (like, _others) = ALL.split_at(7);
    like
};

impl SingleByte {
    const fn new(upper: &'static str) -> SingleByte {
        SingleByte { upper, replaces: false, restores_spaces: true }
    }

    const fn replacing(self) -> SingleByte {
        SingleByte { replaces: true, ..self }
    }

    /// Each byte from 0x80 on with its character.
    pub(super) fn upper(&self) -> impl Iterator<Item = (u8, char)> {
        (0x80..=u8::MAX)
            .zip(self.upper.chars())
            .map(|(byte, char)| (byte, if char == '.' { byte.into() } else { char }))
    }

    /// The bytes that are read as `text`; `None` if it has a character that this encoding has not.
    pub(super) fn encode(&self, text: &str) -> Option<Vec<u8>> {
        text.chars()
            .map(|char| match char {
                char::REPLACEMENT_CHARACTER if self.replaces => Some(SUBSTITUTE),
                '\u{1a}' if self.replaces => None,
                '\0'..='\x7f' => Some(char as u8),
                _ => self.upper().find_map(|(byte, meant)| (meant == char).then_some(byte)),
            })
            .collect()
    }
}

const LATIN_1_UPPER: &str = concat!(
    "................................",
    ".¡¢£¤¥¦§¨©ª«¬.®¯°±²³´µ¶·¸¹º»¼½¾¿",
    "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞß",
    "àáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ",
);
const WINDOWS_1252_UPPER: &str = concat!(
    "€.‚ƒ„…†‡ˆ‰Š‹Œ.Ž..‘’“”•–—˜™š›œ.žŸ",
    ".¡¢£¤¥¦§¨©ª«¬.®¯°±²³´µ¶·¸¹º»¼½¾¿",
    "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞß",
    "àáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ",
);
const WINDOWS_1251_UPPER: &str = concat!(
    "ЂЃ‚ѓ„…†‡€‰Љ‹ЊЌЋЏђ‘’“”•–—.™љ›њќћџ",
    ".ЎўЈ¤Ґ¦§Ё©Є«¬.®Ї°±Ііґµ¶·ё№є»јЅѕї",
    "АБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯ",
    "абвгдежзийклмнопрстуфхцчшщъыьэюя",
);
const WINDOWS_1250_UPPER: &str = concat!(
    "€.‚.„…†‡.‰Š‹ŚŤŽŹ.‘’“”•–—.™š›śťžź",
    ".ˇ˘Ł¤Ą¦§¨©Ş«¬.®Ż°±˛ł´µ¶·¸ąş»Ľ˝ľż",
    "ŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢß",
    "ŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙",
);
const WINDOWS_1253_UPPER: &str = concat!(
    "€.‚ƒ„…†‡.‰.‹.....‘’“”•–—.™.›....",
    ".΅Ά£¤¥¦§¨©ª«¬.®―°±²³΄µ¶·ΈΉΊ»Ό½ΎΏ",
    "ΐΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡÒΣΤΥΦΧΨΩΪΫάέήί",
    "ΰαβγδεζηθικλμνξοπρςστυφχψωϊϋόύώÿ",
);
const WINDOWS_1254_UPPER: &str = concat!(
    "€.‚ƒ„…†‡ˆ‰Š‹Œ....‘’“”•–—˜™š›œ..Ÿ",
    ".¡¢£¤¥¦§¨©ª«¬.®¯°±²³´µ¶·¸¹º»¼½¾¿",
    "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏĞÑÒÓÔÕÖ×ØÙÚÛÜİŞß",
    "àáâãäåæçèéêëìíîïğñòóôõö÷øùúûüışÿ",
);
const WINDOWS_1257_UPPER: &str = concat!(
    "€.‚.„…†‡.‰.‹.¨ˇ¸.‘’“”•–—.™.›.¯˛.",
    ".¡¢£¤¥¦§Ø©Ŗ«¬.®Æ°±²³´µ¶·ø¹ŗ»¼½¾æ",
    "ĄĮĀĆÄÅĘĒČÉŹĖĢĶĪĻŠŃŅÓŌÕÖ×ŲŁŚŪÜŻŽß",
    "ąįāćäåęēčéźėģķīļšńņóōõö÷ųłśūüżž˙",
);
const ISO_8859_2_UPPER: &str = concat!(
    "................................",
    ".Ą˘Ł¤ĽŚ§¨ŠŞŤŹ.ŽŻ°ą˛ł´ľśˇ¸šşťź˝žż",
    "ŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢß",
    "ŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙",
);
const MACINTOSH_UPPER: &str = concat!(
    "ÄÅÇÉÑÖÜáàâäãåçéèêëíìîïñóòôöõúùûü",
    "†°¢£§•¶ß®©™´¨≠ÆØ∞±≤≥¥µ∂∑∏π∫ªºΩæø",
    "¿¡¬√ƒ≈∆«»…\u{a0}ÀÃÕŒœ–—“”‘’÷◊ÿŸ⁄€‹›ﬁﬂ",
    "‡·‚„‰ÂÊÁËÈÍÎÏÌÓÔ\u{f8ff}ÒÚÛÙıˆ˜¯˘˙˚¸˝˛ˇ",
);
const CP437_UPPER: &str = concat!(
    "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒ",
    "áíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐",
    "└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀",
    "αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}",
);
