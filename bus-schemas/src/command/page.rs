//! Lists in pages, so that an answer fits one message however much there is.

use crate::codec::MAX_MESSAGE_LEN;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most entries of one page.
pub const MAX_PAGE: u16 = 1_000;
/// Most bytes of a page's entries in JSON; what is around them needs the rest of a message.
pub const MAX_PAGE_LEN: usize = MAX_MESSAGE_LEN * 3 / 4;

/// Asks for a list, a page at a time. An empty request asks for the first page. Who is there all the time while the pages
/// are asked for one after another is in exactly one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListRequest {
    /// Most entries, 1 to [`MAX_PAGE`]; as many as an answer holds when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u16>,
    /// `next` of the page before, which means nothing to anybody else; the first page when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Most entries of a page for which `limit` is asked, if anything is.
pub(super) fn most(limit: Option<u16>) -> usize {
    usize::from(limit.unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE))
}

impl ListRequest {
    /// Most entries of the page.
    pub fn most(&self) -> usize {
        most(self.limit)
    }
}

/// Entries of a list that fit one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// There are more of them behind the last one.
    pub goes_on: bool,
}

impl<T: Serialize> Page<T> {
    /// The first of `entries`, in their order: at most `most`, and no more than [`MAX_PAGE_LEN`] bytes. One entry is always
    /// there where there is any.
    pub fn of(entries: impl IntoIterator<Item = T>, most: usize) -> Self {
        let mut page = Self { entries: Vec::new(), goes_on: false };
        let mut len = 0;
        for entry in entries {
            len += serde_json::to_vec(&entry).map_or(0, |json| json.len() + 1);
            if page.entries.len() >= most || (len > MAX_PAGE_LEN && !page.entries.is_empty()) {
                page.goes_on = true;
                break;
            }
            page.entries.push(entry);
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_where_it_is_full_by_number_or_by_bytes_and_says_whether_more_is_there() {
        let page = Page::of(0..3, 3);
        assert_eq!((page.entries, page.goes_on), (vec![0, 1, 2], false));
        let page = Page::of(0..4, 3);
        assert_eq!((page.entries, page.goes_on), (vec![0, 1, 2], true));
        let long = "x".repeat(MAX_PAGE_LEN / 2 - 10);
        let page = Page::of([&long, &long, &long], 3);
        assert_eq!((page.entries.len(), page.goes_on), (2, true));
        let page = Page::of(["x".repeat(MAX_PAGE_LEN + 1), long], 3);
        assert_eq!((page.entries.len(), page.goes_on), (1, true), "one is always there");
        let page = Page::of(Vec::<u8>::new(), 3);
        assert_eq!((page.entries.len(), page.goes_on), (0, false));
    }

    #[test]
    fn no_page_is_longer_than_the_longest_or_empty() {
        let most = |limit| ListRequest { limit, after: None }.most();
        assert_eq!([most(None), most(Some(0)), most(Some(7)), most(Some(u16::MAX))], [1_000, 1, 7, 1_000]);
    }
}
