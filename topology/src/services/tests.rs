use super::*;

const ADDRESS: [u8; 4] = [192, 0, 2, 7];

fn suffix(suffix: &str) -> Pattern {
    Pattern::Suffix(suffix.to_owned())
}

fn regex(pattern: &str) -> Pattern {
    Pattern::Regex(pattern.to_owned())
}

fn net(network: &str) -> Pattern {
    let (address, prefix) = network.split_once('/').expect("address and prefix");
    Pattern::Net { address: address.parse().expect("an address"), prefix: prefix.parse().expect("a number") }
}

fn named(pattern: Pattern, name: &str) -> Rule {
    Rule { pattern, name: Some(name.to_owned()), icon: None, group: None }
}

fn each(pattern: Pattern) -> Rule {
    Rule { pattern, name: None, icon: Some("queue".to_owned()), group: Some("ours".to_owned()) }
}

/// Services by these rules, all of them good.
fn services(rules: &[Rule]) -> Services {
    let (services, problems) = Services::with(rules);
    assert_eq!(problems, []);
    services
}

fn name_of(services: &Services, address: impl Into<IpAddr>, names: &[&str]) -> Option<String> {
    services.find(address.into(), names).map(|service| service.name.to_string())
}

#[test]
fn a_rule_is_found_by_suffix_expression_and_network() {
    let services = services(&[
        named(suffix("*.Example.com."), "example"),
        named(regex(r"db-\d+\.corp"), "databases"),
        each(regex("mq.*")),
        named(net("198.51.100.9/24"), "partner"),
        named(net("2001:db8::/32"), "partner v6"),
        each(net("203.0.113.0/24")),
    ]);
    let nobody: &[&str] = &[];
    let cases: [(&str, &[&str], Option<&str>); 18] = [
        ("192.0.2.7", &["example.com"], Some("example")),
        ("192.0.2.7", &["A.EXAMPLE.com."], Some("example")),
        ("192.0.2.7", &["badexample.com"], None),
        ("192.0.2.7", &["example.com.org"], None),
        ("192.0.2.7", &["DB-12.corp"], Some("databases")),
        ("192.0.2.7", &["db-12.corp.org"], None),
        ("192.0.2.7", &["adb-12.corp"], None),
        ("192.0.2.7", &["mq1.corp"], Some("mq1.corp")),
        ("198.51.100.200", nobody, Some("partner")),
        ("::ffff:198.51.100.200", nobody, Some("partner")),
        ("198.51.101.1", nobody, None),
        ("2001:db8:1::1", nobody, Some("partner v6")),
        ("2001:db9::1", nobody, None),
        ("203.0.113.9", nobody, Some("203.0.113.9")),
        ("203.0.113.9", &["h9.test", "rev.test"], Some("h9.test")),
        ("192.0.2.7", &["", ".", "api.openai.com"], Some("api.openai.com")),
        ("192.0.2.7", &["unknown.test"], None),
        ("192.0.2.7", nobody, None),
    ];
    for (address, names, want) in cases {
        let got = name_of(&services, address.parse::<IpAddr>().expect("an address"), names);
        assert_eq!(got.as_deref(), want, "{address} {names:?}");
    }
}

#[test]
fn the_first_rule_counts_and_rules_come_before_what_everybody_knows() {
    let by_suffix = || named(suffix("example.com"), "by suffix");
    let by_regex = || named(regex(".*[.]example[.]com"), "by regex");
    let by_net = || named(net("192.0.2.0/24"), "by network");
    let wider = || named(suffix("com"), "by com");
    let narrow = || named(net("192.0.2.7/32"), "by address");
    let all: IpAddr = [0, 0, 0, 0].into();
    let any = || named(Pattern::Net { address: all, prefix: 0 }, "any");
    let cases: [(Vec<Rule>, &[&str], &str); 11] = [
        (vec![by_suffix(), by_regex(), by_net()], &["a.example.com"], "by suffix"),
        (vec![by_regex(), by_suffix(), by_net()], &["a.example.com"], "by regex"),
        (vec![by_net(), by_suffix(), by_regex()], &["a.example.com"], "by network"),
        (vec![by_suffix(), wider()], &["a.example.com"], "by suffix"),
        (vec![wider(), by_suffix()], &["a.example.com"], "by com"),
        (vec![by_net(), narrow()], &[], "by network"),
        (vec![any(), narrow()], &[], "any"),
        // Whichever name it is for.
        (vec![by_suffix(), wider()], &["other.com", "a.example.com"], "by suffix"),
        // Before what everybody knows, even of a better name.
        (vec![by_suffix()], &["api.stripe.com", "example.com"], "by suffix"),
        (vec![named(suffix("stripe.com"), "money")], &["api.stripe.com"], "money"),
        // Of what everybody knows: the first name. A rented machine's name says nothing of it.
        (vec![], &["ec2-192-0-2-7.compute-1.amazonaws.com", "api.slack.com", "d1.cloudfront.net"], "api.slack.com"),
    ];
    for (rules, names, want) in cases {
        assert_eq!(name_of(&services(&rules), ADDRESS, names).as_deref(), Some(want), "{rules:?} {names:?}");
    }
}

#[test]
fn what_a_rule_says_is_shown() {
    let found = services(&[each(suffix("corp"))]).find(ADDRESS.into(), &["mq.corp"]).expect("a service");
    let want = Service { name: "mq.corp".into(), icon: Some("queue".into()), group: Some("ours".into()) };
    assert_eq!(*found, want);
}

#[test]
fn a_bad_rule_is_left_out_and_named() {
    let long = "x".repeat(600);
    let v4: IpAddr = ADDRESS.into();
    let cases = [
        (named(suffix(""), "x"), RuleError::BadSuffix(String::new())),
        (named(suffix("a..b"), "x"), RuleError::BadSuffix("a..b".to_owned())),
        (named(suffix("exa mple"), "x"), RuleError::BadSuffix("exa mple".to_owned())),
        (named(suffix("**.com"), "x"), RuleError::BadSuffix("**.com".to_owned())),
        (named(suffix(&long), "x"), RuleError::TooLong { what: "the suffix", bytes: 600, max: 253 }),
        (named(regex(&long), "x"), RuleError::TooLong { what: "the regular expression", bytes: 600, max: 512 }),
        (named(regex("a("), "x"), RuleError::BadRegex("unclosed group".to_owned())),
        (named(regex("a)|(b"), "x"), RuleError::BadRegex("unopened group".to_owned())),
        (
            named(regex("((a{99}){99}){99}"), "x"),
            RuleError::BadRegex("it compiles to more than 16384 bytes".to_owned()),
        ),
        (named(net("192.0.2.7/33"), "x"), RuleError::BadPrefix { address: v4, prefix: 33 }),
        (named(suffix("com"), " "), RuleError::NoText("the service's name")),
        (named(suffix("com"), "a\nb"), RuleError::NoText("the service's name")),
        (named(suffix("com"), &long), RuleError::TooLong { what: "the service's name", bytes: 600, max: 128 }),
    ];
    for (rule, error) in cases {
        let (services, problems) =
            Services::with([&named(suffix("net"), "first"), &rule, &named(suffix("org"), "last")]);
        assert_eq!(problems, [Problem { number: 2, error }], "{rule:?}");
        assert_eq!(name_of(&services, ADDRESS, &["a.org"]).as_deref(), Some("last"), "{rule:?}");
        assert_eq!(name_of(&services, ADDRESS, &["a.com"]), None, "{rule:?}");
    }
    let nested = "(".repeat(200) + &")".repeat(200);
    assert!(matches!(named(regex(&nested), "x").check(), Err(RuleError::BadRegex(_))));
}

#[test]
fn rules_beyond_the_bounds_are_left_out() {
    let suffixes = (0..RULES_MAX + 5).map(|number| named(suffix(&format!("s{number}.test")), "x"));
    let regexes =
        (0..REGEXES_MAX + 5).map(|number| named(regex(&format!(r"r{number}(\.[a-z0-9-]+){{1,4}}\.test")), "x"));
    let (suffixes, regexes): (Vec<_>, Vec<_>) = (suffixes.collect(), regexes.collect());
    let (services, problems) = Services::with(&suffixes);
    assert_eq!(problems, [Problem { number: RULES_MAX + 1, error: RuleError::TooMany }]);
    let last = format!("s{}.test", RULES_MAX - 1);
    assert_eq!(name_of(&services, ADDRESS, &[&last]).as_deref(), Some("x"));
    assert_eq!(name_of(&services, ADDRESS, &[&format!("s{RULES_MAX}.test")]), None);

    let (services, problems) = Services::with(&regexes);
    assert_eq!(problems, [Problem { number: REGEXES_MAX + 1, error: RuleError::TooManyRegexes }]);
    let last = format!("r{}.a.b-1.test", REGEXES_MAX - 1);
    assert_eq!(name_of(&services, ADDRESS, &[&last]).as_deref(), Some("x"));
}

#[test]
fn rules_that_are_no_good_count_as_well() {
    let regexes: Vec<_> = (0..10_000).map(|number| named(regex(&format!("r{number}(")), "x")).collect();
    let (_, problems) = Services::with(&regexes);
    let errors: Vec<_> = problems.iter().map(|problem| &problem.error).collect();
    assert_eq!(errors.len(), REGEXES_MAX + 1);
    assert_eq!(errors.last(), Some(&&RuleError::TooManyRegexes));

    let mut suffixes: Vec<_> = (0..10_000).map(|number| named(suffix(&format!("s {number}")), "x")).collect();
    suffixes.push(named(suffix("com"), "last"));
    let (services, problems) = Services::with(&suffixes);
    assert_eq!(problems.len(), RULES_MAX + 1);
    assert_eq!(problems.last(), Some(&Problem { number: RULES_MAX + 1, error: RuleError::TooMany }));
    assert_eq!(name_of(&services, ADDRESS, &["a.com"]), None);
}

#[test]
fn as_many_large_expressions_as_there_may_be_compile_together() {
    let large = |first: usize, count: usize| named(regex(&format!("{first}(a|b.){{{count}}}")), &first.to_string());
    let largest = (1..500).rev().find(|count| large(0, *count).check().is_ok()).expect("a small one compiles");
    let rules: Vec<_> = (0..REGEXES_MAX).map(|first| large(first, largest)).collect();
    let name = format!("{}{}", REGEXES_MAX - 1, "a".repeat(largest));
    let services = services(&rules);
    assert_eq!(name_of(&services, ADDRESS, &[&name]), Some((REGEXES_MAX - 1).to_string()), "{largest} times");
}

#[test]
fn the_same_rules_of_many_hosts_count_once() {
    let rules: Vec<_> = (0..600).map(|number| named(suffix(&format!("s{number}.test")), "x")).collect();
    let (_, problems) = Services::with(std::iter::repeat_n(&rules, 50).flatten());
    assert_eq!(problems, []);
}
