//! What is refused before it runs.

use crate::{
    NATIVES, TIGHT, examples, in_time, search, tight,
    toy::{ID, Toy},
};
use algorithm_api::Algorithm;
use algorithm_component::{LoadError, Sandbox};

fn refused(bytes: Vec<u8>) -> LoadError {
    in_time(move || tight().load(&bytes)).expect_err("it is loaded")
}

#[test]
fn a_component_is_an_algorithm_like_any_other() {
    let toy = tight().load(&Toy::default().component()).unwrap();
    let descriptor = toy.descriptor();
    assert_eq!((&*descriptor.id, descriptor.version), (ID, 2));
    assert_eq!((descriptor.input_len.clone(), descriptor.positions), (1..=4, 1000));
    assert_eq!(toy.verify(&[1], &[2]), Ok([0; 32]));
    assert!(toy.prepare(&[0; 5]).is_err());
    let mut prepared = toy.prepare(&[1]).unwrap();
    assert_eq!(search(&mut *prepared), (100, Vec::new(), None));
}

#[test]
fn what_is_not_a_component_is_refused() {
    for bytes in [b"".to_vec(), b"not WebAssembly".to_vec(), wat::parse_str("(module)").unwrap()] {
        assert!(matches!(refused(bytes), LoadError::NotAComponent(_)));
    }
    let mut cut = Toy::default().component();
    cut.truncate(cut.len() / 2);
    assert!(matches!(refused(cut), LoadError::NotAComponent(_)));
}

#[test]
fn a_component_without_the_algorithm_is_refused() {
    let other = r#"(component (core module $m (func (export "f")))
        (core instance $i (instantiate $m)) (func (export "f") (canon lift (core func $i "f"))))"#;
    for text in ["(component)", other] {
        assert!(matches!(refused(wat::parse_str(text).unwrap()), LoadError::WrongWorld(_)));
    }
}

#[test]
fn a_component_that_is_too_big_is_refused() {
    let mut bytes = Toy::default().component();
    bytes.resize(TIGHT.component_len + 1, 0);
    let most = TIGHT.component_len;
    assert_eq!(refused(bytes), LoadError::TooBig { len: most + 1, most });
}

#[test]
fn a_component_gets_no_file_clock_environment_or_network() {
    for (interface, function) in [
        ("wasi:filesystem/preopens@0.2.0", r#""get-directories" (func (result u32))"#),
        ("wasi:clocks/wall-clock@0.2.0", r#""now" (func (result u64))"#),
        ("wasi:cli/environment@0.2.0", r#""get-arguments" (func (result (list string)))"#),
        ("wasi:sockets/tcp@0.2.0", r#""connect" (func)"#),
        ("wasi:random/random@0.2.0", r#""get-random-u64" (func (result u64))"#),
        ("dcmf:algorithm/secrets@1.0.0", r#""read" (func (result string))"#),
    ] {
        let text = format!(r#"(component (import "{interface}" (instance (export {function}))))"#);
        assert_eq!(refused(wat::parse_str(&text).unwrap()), LoadError::NotOffered(interface.to_owned()));
    }
    let text = r#"(component (import "abort" (func)))"#;
    assert_eq!(refused(wat::parse_str(text).unwrap()), LoadError::NotOffered("abort".to_owned()));
}

#[test]
fn a_kernel_is_offered_only_if_its_algorithm_is_permitted_on_wasm32_target() {
    let [_, by_kernel] = examples::components();
    for permitted in [&[][..], &NATIVES[1..]] {
        let error = Sandbox::new(TIGHT, permitted).unwrap().load(by_kernel).unwrap_err();
        let wanted = "dcmf:algorithm/kernels@1.0.0 sha256d-scan".to_owned();
        assert_eq!(error, LoadError::NotOffered(wanted));
    }
    Sandbox::new(TIGHT, &NATIVES[..1]).unwrap().load(by_kernel).unwrap();
}

#[test]
fn a_kernel_of_another_type_is_refused() {
    let text = r#"(component (import "dcmf:algorithm/kernels@1.0.0"
        (instance (export "sha256d-scan" (func (param "input" string) (result string))))))"#;
    let error = Sandbox::new(TIGHT, &NATIVES).unwrap().load(&wat::parse_str(text).unwrap()).unwrap_err();
    assert!(matches!(error, LoadError::WrongWorld(_)), "{error}");
}

#[test]
fn a_component_that_describes_itself_wrongly_is_refused() {
    let good = Toy::default();
    for toy in [
        Toy { id: (512, 0), ..good },
        Toy { id: (4096, 60_000), ..good },
        Toy { id: (0, 5), ..good },
        Toy { input: (5, 4), ..good },
        Toy { input: (0, u32::MAX), ..good },
        Toy { finding: (0, 1 << 20), ..good },
        Toy { positions: 0, ..good },
        Toy { memory: u64::MAX, ..good },
    ] {
        let error = refused(toy.component());
        assert!(matches!(error, LoadError::Descriptor(_)), "{error}");
    }
    for id in [(65_000, 1000), (0, u32::MAX), (u32::MAX, 5)] {
        let error = refused(Toy { id, ..good }.component());
        assert!(matches!(error, LoadError::Failed(_)), "{error}");
    }
}
