//! The words that readers of `report.json` rely on. They are made of the names of variants, so a variant that is
//! renamed for the code's sake would rename a word of the contract: this refuses it. New words may be added to
//! `contract.txt`; none may change.

use crate::{
    AgentLoss, AwaitKind, Confidence, DescriptorKind, FindingKind, FutexOperation, GrowthForm,
    LeakLevel, LimitKind, LimitOf, LockKind, MappingKind, NoticeKind, Policy, Severity, SignalId,
    SocketState, TaskState, ThreadLimitKind, Unsampled, timeline::Activity,
};
use strum::VariantArray;

/// All words of an enum, in the order of its variants.
fn words<T: VariantArray + Copy + Into<&'static str>>(name: &str) -> String {
    let words = T::VARIANTS.iter().map(|variant| (*variant).into());
    format!("{name}: {}\n", words.collect::<Vec<&str>>().join(", "))
}

#[test]
fn no_word_of_the_contract_has_changed() {
    let all = [
        words::<FindingKind>("finding::Kind"),
        words::<Severity>("Severity"),
        words::<Confidence>("Confidence"),
        words::<NoticeKind>("NoticeKind"),
        words::<LimitOf>("LimitOf"),
        words::<DescriptorKind>("DescriptorKind"),
        words::<MappingKind>("MappingKind"),
        words::<LimitKind>("LimitKind"),
        words::<GrowthForm>("GrowthForm"),
        words::<LeakLevel>("LeakLevel"),
        words::<Policy>("Policy"),
        words::<Unsampled>("Unsampled"),
        words::<SignalId>("SignalId"),
        words::<FutexOperation>("FutexOperation"),
        words::<LockKind>("LockKind"),
        words::<SocketState>("SocketState"),
        words::<TaskState>("TaskState"),
        words::<AwaitKind>("AwaitKind"),
        words::<ThreadLimitKind>("ThreadLimitKind"),
        words::<Activity>("Activity"),
        words::<AgentLoss>("AgentLoss"),
    ];
    for (now, before) in all
        .iter()
        .zip(include_str!("contract.txt").split_inclusive('\n'))
    {
        assert_eq!(now, before);
    }
    assert_eq!(all.concat(), include_str!("contract.txt"));
}
