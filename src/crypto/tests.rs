//! The formulas against the vectors of their standards, and the properties that the rest of the program counts on.

use super::*;
use proptest::prelude::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex
        .as_bytes()
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).expect("ASCII"));
    digits
        .map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal"))
        .collect()
}

fn key(start: &[u8]) -> Key {
    let mut bytes = [0; KEY_BYTES];
    bytes[..start.len()].copy_from_slice(start);
    Key::from_slice(&bytes).expect("as long as a key")
}

/// GCM specification (McGrew and Viega), test cases 13 and 14.
#[test]
fn aes_256_gcm_vectors() {
    let nonce = [0; NONCE_BYTES];
    let cases = [
        ("", "530f8afbc74536b9a963b4f1c4cb738b"),
        (
            "00000000000000000000000000000000",
            "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919",
        ),
    ];
    for (plaintext, sealed) in cases {
        let blob = [nonce.as_slice(), &bytes(sealed)].concat();
        let opened = open(&key(&[]), &[], &blob).expect("authentic");
        assert_eq!(opened.expose(), bytes(plaintext));
    }
}

/// RFC 5869, appendices A.1 and A.3: the first 32 bytes.
#[test]
fn hkdf_vectors() {
    let ikm = [0x0b; 22];
    let derived = hkdf(
        &ikm,
        &bytes("000102030405060708090a0b0c"),
        &bytes("f0f1f2f3f4f5f6f7f8f9"),
    )
    .expect("a key");
    assert_eq!(
        derived.expose().expect("here"),
        &*bytes("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf")
    );
    let derived = hkdf(&ikm, &[], &[]).expect("a key");
    assert_eq!(
        derived.expose().expect("here"),
        &*bytes("8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d")
    );
}

/// RFC 4231, test cases 1 and 2. Their keys are shorter than ours; HMAC fills up with zeros.
#[test]
fn hmac_vectors() {
    let cases: [(&[u8], &[u8], &str); 2] = [
        (
            &[0x0b; 20],
            b"Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        ),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
    ];
    for (start, message, code) in cases {
        let code_found = hmac(key(start).expose().expect("here"))
            .chain_update(message)
            .finalize()
            .into_bytes();
        assert_eq!(code_found.as_slice(), bytes(code));
    }
}

/// The reference implementation's `test.c`: version 0x13, 2 passes, 256 KiB.
#[test]
fn argon2id_vectors() {
    let password = SecretBytes::from_vec(b"password".to_vec());
    let hash = |lanes| {
        let params = KdfParams {
            memory_kib: 256,
            passes: 2,
            lanes,
        };
        *password_key(&password, b"somesalt", params)
            .expect("acceptable")
            .expose()
            .expect("here")
    };
    assert_eq!(
        hash(1),
        *bytes("9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe")
    );
    assert_eq!(
        hash(2),
        *bytes("6d093c501fd5999645e0ea3bf620d7b8be7fd2db59c20d9fff9539da2bf57037")
    );
}

#[test]
fn kdf_parameters_out_of_range_are_refused() {
    let bad = [
        (7, 1, 1),
        (8, 0, 1),
        (8, 1, 0),
        (15, 1, 2),
        (1024 * 1024 + 1, 1, 1),
        (1024, 65, 1),
        (1024, 1, 65),
    ];
    for (memory_kib, passes, lanes) in bad {
        let params = KdfParams {
            memory_kib,
            passes,
            lanes,
        };
        let result = password_key(
            &SecretBytes::from_vec(b"password".to_vec()),
            &[0; SALT_BYTES],
            params,
        );
        assert_eq!(result.err(), Some(CryptoError::Kdf), "{params:?}");
    }
    assert!(KdfParams::DEFAULT.is_acceptable());
}

#[test]
fn parts_are_framed_by_their_lengths() {
    assert_eq!(
        framed(&[b"ab", b""]),
        b"\0\0\0\0\0\0\0\x02ab\0\0\0\0\0\0\0\0"
    );
    let code = mac(&key(b"k"), &[b"ab", b"c"]).expect("a code");
    assert_eq!(mac_is_valid(&key(b"k"), &[b"ab", b"c"], &code), Ok(true));
    let others: [&[&[u8]]; 3] = [&[b"a", b"bc"], &[b"abc"], &[b"ab", b"c", b""]];
    for other in others {
        assert_eq!(mac_is_valid(&key(b"k"), other, &code), Ok(false));
    }
    assert_eq!(mac_is_valid(&key(b"l"), &[b"ab", b"c"], &code), Ok(false));
    assert_eq!(
        mac_is_valid(&key(b"k"), &[b"ab", b"c"], &code[..31]),
        Ok(false)
    );
}

#[test]
fn short_blobs_are_not_authentic() {
    for length in 0..NONCE_BYTES + TAG_BYTES {
        assert_eq!(
            open(&key(&[]), &[], &vec![0; length]).err(),
            Some(CryptoError::NotAuthentic)
        );
    }
}

proptest! {
    #[test]
    fn what_is_sealed_opens_in_its_place_only(
        plaintext: Vec<u8>, place: Vec<u8>, other: Vec<u8>, start: [u8; 32], flip: prop::sample::Index,
    ) {
        let key = key(&start);
        let mut blob = seal(&key, &[&place, b"x"], &plaintext).expect("sealed");
        prop_assert_eq!(blob.len(), NONCE_BYTES + plaintext.len() + TAG_BYTES);
        let opened = open(&key, &[&place, b"x"], &blob).expect("authentic");
        prop_assert_eq!(opened.expose(), &*plaintext);
        if other != place {
            prop_assert!(open(&key, &[&other, b"x"], &blob).is_err());
        }
        let again = seal(&key, &[&place, b"x"], &plaintext).expect("sealed");
        prop_assert_ne!(&again, &blob, "each blob has its own nonce");
        let bit = flip.index(blob.len() * 8);
        blob[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(open(&key, &[&place, b"x"], &blob).is_err());
    }

    #[test]
    fn different_lists_are_framed_differently(a: Vec<Vec<u8>>, b: Vec<Vec<u8>>) {
        fn parts(list: &[Vec<u8>]) -> Vec<&[u8]> {
            list.iter().map(Vec::as_slice).collect()
        }
        prop_assert_eq!(framed(&parts(&a)) == framed(&parts(&b)), a == b);
    }
}
