//! What is true, whatever the cores believe: kept beside the farm by somebody who sees everything.

pub(crate) mod blocks;
pub(crate) mod configs;
pub(crate) mod orders;
pub(crate) mod shares;
pub(crate) mod slots;
pub(crate) mod verdicts;

/// See the module's documentation.
#[derive(Default)]
pub(crate) struct Truth {
    pub(crate) blocks: blocks::Blocks,
    pub(crate) shares: shares::Shares,
    pub(crate) slots: slots::Slots,
    pub(crate) orders: orders::Orders,
    pub(crate) configs: configs::Configs,
}
