//! The words of the events. The more frequent ones come first: draws are Zipf's.

/// What an event is about; decides which of the optional columns it fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    Page,
    Search,
    Commerce,
    Feature,
    Media,
    Account,
}

pub(crate) const EVENTS: [(&str, Topic); 40] = [
    ("Page View", Topic::Page),
    ("Button Clicked", Topic::Feature),
    ("Product Viewed", Topic::Commerce),
    ("Search", Topic::Search),
    ("App Opened", Topic::Account),
    ("Video Played", Topic::Media),
    ("Page Scrolled", Topic::Page),
    ("Added to Cart", Topic::Commerce),
    ("Feature Used", Topic::Feature),
    ("Notification Received", Topic::Account),
    ("Search Result Clicked", Topic::Search),
    ("Form Submitted", Topic::Feature),
    ("Video Paused", Topic::Media),
    ("Filter Applied", Topic::Search),
    ("Checkout Started", Topic::Commerce),
    ("Notification Opened", Topic::Account),
    ("Purchase Completed", Topic::Commerce),
    ("Tab Switched", Topic::Page),
    ("Logged In", Topic::Account),
    ("Article Read", Topic::Page),
    ("Wishlist Updated", Topic::Commerce),
    ("File Uploaded", Topic::Feature),
    ("Report Exported", Topic::Feature),
    ("Comment Posted", Topic::Feature),
    ("Audio Played", Topic::Media),
    ("Logged Out", Topic::Account),
    ("Coupon Applied", Topic::Commerce),
    ("Profile Updated", Topic::Account),
    ("Removed from Cart", Topic::Commerce),
    ("Link Shared", Topic::Page),
    ("Invite Sent", Topic::Account),
    ("Review Written", Topic::Commerce),
    ("Settings Changed", Topic::Account),
    ("Tutorial Finished", Topic::Media),
    ("Error Shown", Topic::Page),
    ("Refund Requested", Topic::Commerce),
    ("Plan Upgraded", Topic::Account),
    ("Integration Connected", Topic::Feature),
    ("Survey Answered", Topic::Feature),
    ("Signed Up", Topic::Account),
];

pub(crate) struct City {
    pub(crate) name: &'static str,
    pub(crate) country: &'static str,
}

const fn city(name: &'static str, country: &'static str) -> City {
    City { name, country }
}

pub(crate) const CITIES: [City; 56] = [
    city("New York", "US"),
    city("London", "GB"),
    city("Berlin", "DE"),
    city("São Paulo", "BR"),
    city("Mumbai", "IN"),
    city("Paris", "FR"),
    city("Toronto", "CA"),
    city("東京", "JP"),
    city("Los Angeles", "US"),
    city("Madrid", "ES"),
    city("Sydney", "AU"),
    city("Amsterdam", "NL"),
    city("Chicago", "US"),
    city("München", "DE"),
    city("Milano", "IT"),
    city("Bengaluru", "IN"),
    city("Ciudad de México", "MX"),
    city("Warszawa", "PL"),
    city("Stockholm", "SE"),
    city("Manchester", "GB"),
    city("Zürich", "CH"),
    city("Singapore", "SG"),
    city("Wien", "AT"),
    city("San Francisco", "US"),
    city("Hamburg", "DE"),
    city("Lyon", "FR"),
    city("Barcelona", "ES"),
    city("Melbourne", "AU"),
    city("Dublin", "IE"),
    city("Bruxelles", "BE"),
    city("Delhi", "IN"),
    city("Praha", "CZ"),
    city("Lisboa", "PT"),
    city("Copenhagen", "DK"),
    city("Oslo", "NO"),
    city("Helsinki", "FI"),
    city("Seattle", "US"),
    city("Boston", "US"),
    city("Austin", "US"),
    city("Vancouver", "CA"),
    city("Montréal", "CA"),
    city("大阪", "JP"),
    city("서울", "KR"),
    city("Bogotá", "CO"),
    city("Buenos Aires", "AR"),
    city("Santiago", "CL"),
    city("Lima", "PE"),
    city("İstanbul", "TR"),
    city("Αθήνα", "GR"),
    city("București", "RO"),
    city("Budapest", "HU"),
    city("Cape Town", "ZA"),
    city("Nairobi", "KE"),
    city("Lagos", "NG"),
    city("Köln", "DE"),
    city("Roma", "IT"),
];

pub(crate) struct System {
    pub(crate) name: &'static str,
    pub(crate) versions: [&'static str; 4],
}

const fn system(name: &'static str, versions: [&'static str; 4]) -> System {
    System { name, versions }
}

/// Where events are sent from: a library and what it runs on.
pub(crate) struct Platform {
    pub(crate) lib: &'static str,
    pub(crate) lib_major: u64,
    pub(crate) systems: &'static [System],
    /// None for apps.
    pub(crate) browsers: &'static [&'static str],
    pub(crate) screen_widths: [u32; 4],
}

const IOS: System = system("iOS", ["18.5", "18.4.1", "17.7", "16.7.11"]);
const ANDROID: System = system("Android", ["15", "14", "13", "12"]);

pub(crate) const PLATFORMS: [Platform; 5] = [
    Platform {
        lib: "web",
        lib_major: 2,
        systems: &[
            system("Windows", ["11", "10", "8.1", "7"]),
            system("Mac OS X", ["15.5", "14.7.6", "13.7.6", "12.7.6"]),
            system("Linux", ["6.14", "6.8", "5.15", "5.4"]),
        ],
        browsers: &["Chrome", "Safari", "Microsoft Edge", "Firefox", "Opera"],
        screen_widths: [1920, 1536, 2560, 1440],
    },
    Platform {
        lib: "iphone",
        lib_major: 5,
        systems: &[IOS],
        browsers: &[],
        screen_widths: [393, 430, 390, 375],
    },
    Platform {
        lib: "android",
        lib_major: 8,
        systems: &[ANDROID],
        browsers: &[],
        screen_widths: [412, 360, 384, 432],
    },
    Platform {
        lib: "web",
        lib_major: 2,
        systems: &[IOS],
        browsers: &["Mobile Safari", "Chrome iOS"],
        screen_widths: [393, 430, 390, 820],
    },
    Platform {
        lib: "web",
        lib_major: 2,
        systems: &[ANDROID],
        browsers: &["Chrome Mobile", "Samsung Internet", "Firefox Mobile"],
        screen_widths: [412, 360, 384, 800],
    },
];

pub(crate) const PLANS: [&str; 4] = ["free", "pro", "team", "enterprise"];
pub(crate) const EXPERIMENTS: [&str; 3] = ["checkout_b", "home_v3", "search_rank_2"];

pub(crate) const REFERRERS: [&str; 14] = [
    "https://www.google.com/",
    "https://www.bing.com/",
    "https://t.co/",
    "https://duckduckgo.com/",
    "https://www.facebook.com/",
    "https://www.reddit.com/",
    "https://news.ycombinator.com/",
    "https://www.linkedin.com/",
    "https://www.youtube.com/",
    "android-app://com.google.android.gm/",
    "https://mail.example.org/inbox",
    "https://blog.example.org/best-tools-2025",
    "https://partners.example.net/deals",
    "https://example.edu/courses/analytics",
];

pub(crate) const UTM_SOURCES: [&str; 8] = [
    "google",
    "newsletter",
    "facebook",
    "twitter",
    "partner",
    "linkedin",
    "tiktok",
    "podcast",
];

/// Three run at a time, and each month one of them is replaced.
pub(crate) const CAMPAIGNS: [&str; 20] = [
    "new_year_25",
    "winter_sale_25",
    "valentine_25",
    "spring_launch",
    "brand_q2",
    "easter_25",
    "summer_sale_25",
    "back_to_school",
    "referral_25",
    "autumn_launch",
    "black_friday_25",
    "cyber_week_25",
    "holiday_25",
    "new_year_26",
    "winter_sale_26",
    "valentine_26",
    "brand_q2_26",
    "easter_26",
    "summer_sale_26",
    "retarget_26",
];

pub(crate) const PATHS: [&str; 24] = [
    "/",
    "/home",
    "/pricing",
    "/products",
    "/blog",
    "/docs",
    "/features",
    "/about",
    "/login",
    "/account",
    "/account/orders",
    "/blog/getting-started",
    "/docs/api",
    "/docs/sdk/javascript",
    "/support",
    "/contact",
    "/blog/what-is-new",
    "/careers",
    "/legal/privacy",
    "/legal/terms",
    "/customers",
    "/changelog",
    "/status",
    "/docs/sdk/ios",
];

pub(crate) const FEATURES: [&str; 24] = [
    "dashboard",
    "share",
    "export",
    "bookmark",
    "dark_mode",
    "comments",
    "alerts",
    "segments",
    "funnels",
    "retention",
    "templates",
    "bulk_edit",
    "shortcuts",
    "calendar",
    "api_keys",
    "tags",
    "widgets",
    "two_factor",
    "import",
    "audit_log",
    "webhooks",
    "roles",
    "annotations",
    "schedules",
];

pub(crate) const CATEGORIES: [&str; 12] = [
    "shoes", "phones", "books", "kitchen", "garden", "toys", "audio", "jackets", "bags", "lamps",
    "bikes", "coffee",
];

/// What people search for: quotes, backslashes and several scripts among it.
pub(crate) const QUERIES: [&str; 40] = [
    "running shoes",
    "headphones",
    "coffee grinder",
    "usb-c cable",
    "rain jacket",
    "desk lamp",
    "bluetooth speaker",
    "kids bike",
    "\"cast iron\" pan",
    "backpack 30l",
    "crème brûlée torch",
    "phone case",
    "garden hose",
    "wireless mouse",
    "trail shoes men",
    "yoga mat",
    "espresso",
    "monitor 27\"",
    "laufschuhe größe 43",
    "water bottle",
    "lego",
    "noise cancelling",
    "notebook a5",
    "sci-fi novel",
    "コーヒー豆",
    "zapatillas niño",
    "standing desk",
    "tent 2 person",
    "c:\\temp",
    "ear buds",
    "bread knife",
    "tomato seeds",
    "bike light",
    "чайник",
    "gift card",
    "wool socks",
    "power bank",
    "sac à dos",
    "picture frame",
    "mechanical keyboard 🎹",
];
