//! What every page has around it.

use crate::store::people::{Person, Role};

/// The frame of a page.
pub(super) struct Frame {
    pub(super) title: String,
    /// Which link of the navigation leads here.
    pub(super) place: &'static str,
    /// A class of the stylesheet.
    pub(super) width: &'static str,
    pub(super) viewer: Option<Viewer>,
}

/// Who looks at the page.
pub(super) struct Viewer {
    pub(super) name: String,
    pub(super) csrf: String,
    role: Option<Role>,
}

impl Viewer {
    fn new(person: &Person, csrf: String) -> Self {
        Self {
            name: person.name.clone(),
            csrf,
            role: person.roles.iter().map(|(_, role)| *role).max(),
        }
    }

    /// The links of the navigation: place, path, words.
    pub(super) fn links(&self) -> Vec<(&'static str, &'static str, &'static str)> {
        let mut links = Vec::new();
        if self.role >= Some(Role::Auditor) {
            links.push(("requests", "/requests", "Requests"));
        }
        if self.role >= Some(Role::Admin) {
            links.push(("suppression", "/suppression", "Stop collecting"));
        }
        if self.role >= Some(Role::Auditor) {
            links.push(("people", "/people", "People and projects"));
            links.push(("audit", "/audit", "Audit"));
        }
        links.push(("settings", "/settings", "Settings"));
        links
    }
}

impl Frame {
    /// The frame of a page for a person; each form carries the mark `csrf`.
    pub(super) fn of(person: &Person, csrf: &str, title: &str, place: &'static str) -> Self {
        Self {
            title: title.to_owned(),
            place,
            width: "",
            viewer: Some(Viewer::new(person, csrf.to_owned())),
        }
    }

    /// For pages with little on a line.
    pub(super) fn narrow(self) -> Self {
        Self {
            width: "narrow",
            ..self
        }
    }

    /// The frame of a page for somebody unknown.
    pub(super) fn outside(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            place: "",
            width: "door",
            viewer: None,
        }
    }
}
