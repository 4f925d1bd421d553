//! What everybody knows: services that many call, by DNS name. Weave Scope's table and what has become common since.
//!
//! A name is a node, as in Weave Scope: `api.stripe.com` tells more than "Stripe". But where names are made by machines, one
//! for each bucket, edge or front end, there would be thousands, and they say nothing: there the service is one node.
//!
//! Machines that anyone rents are not services, though their provider's name is in theirs (`ec2-192-0-2-1.compute-1.…`):
//! somebody's own program runs there. No entry may know their names.

use std::sync::{Arc, LazyLock};

use foldhash::HashMap;

use super::compiled::Verdict;
use super::{Service, suffixes};

/// The service `name` belongs to; `name` is in lower case, without a dot at its end.
pub(super) fn find(name: &str) -> Option<Arc<Service>> {
    let verdict = match name.strip_suffix(".amazonaws.com").or_else(|| name.strip_suffix(".amazonaws.com.cn")) {
        Some(labels) => amazon(labels)?,
        None => suffixes(name).find_map(|suffix| VERDICTS.get(suffix))?,
    };
    Some(verdict.service(|| name.into()))
}

/// What [`TABLE`] says, by suffix: made once, since every look-up shares it.
static VERDICTS: LazyLock<HashMap<&str, Verdict>> = LazyLock::new(|| verdicts(&TABLE));

/// The same of [`AMAZON`], and by an empty suffix of what is not in it.
static AMAZON_VERDICTS: LazyLock<HashMap<&str, Verdict>> =
    LazyLock::new(|| verdicts(AMAZON.iter().chain(&[each("", "cloud", "AWS")])));

fn verdicts<'a>(table: impl IntoIterator<Item = &'a Known>) -> HashMap<&'static str, Verdict> {
    let verdict = |known: &Known| Verdict::new(known.name, Some(known.icon), Some(known.group));
    table.into_iter().map(|known| (known.suffix, verdict(known))).collect()
}

/// A service by the suffix of its names.
#[derive(Clone, Copy, Debug)]
struct Known {
    suffix: &'static str,
    /// `None`: each name is a service.
    name: Option<&'static str>,
    icon: &'static str,
    group: &'static str,
}

const fn each(suffix: &'static str, icon: &'static str, group: &'static str) -> Known {
    Known { suffix, name: None, icon, group }
}

const fn one(suffix: &'static str, name: &'static str, icon: &'static str, group: &'static str) -> Known {
    Known { suffix, name: Some(name), icon, group }
}

/// What AWS calls the services whose names are made of more than a region.
const AMAZON: [Known; 13] = [
    each("cache", "cache", "AWS"),
    each("docdb", "database", "AWS"),
    each("dynamodb", "database", "AWS"),
    each("ecr", "registry", "AWS"),
    each("elb", "balancer", "AWS"),
    each("es", "database", "AWS"),
    each("kafka", "queue", "AWS"),
    each("kinesis", "queue", "AWS"),
    each("mq", "queue", "AWS"),
    each("rds", "database", "AWS"),
    one("s3", "Amazon S3", "storage", "AWS"),
    each("sns", "queue", "AWS"),
    each("sqs", "queue", "AWS"),
];

/// The service in `labels`, what stands before `amazonaws.com`: `bucket.s3.eu-west-1`, `db.c1.eu-west-1.rds`. `None` for
/// rented machines.
fn amazon(labels: &str) -> Option<&'static Verdict> {
    let mut from_the_right = labels.rsplit('.').filter(|label| !is_region(label) && *label != "dualstack");
    let label = from_the_right.next().unwrap_or_default();
    // Old endpoints, access points and front ends: `s3-eu-west-1`, `s3-accesspoint`, `s3-1-w`.
    let label = if label.starts_with("s3-") { "s3" } else { label };
    if label == "compute" || label.starts_with("compute-") || label.starts_with("ec2-") {
        return None;
    }
    AMAZON_VERDICTS.get(label).or_else(|| AMAZON_VERDICTS.get(""))
}

/// `eu-west-1`, `us-gov-east-1`: words and at last a number.
fn is_region(label: &str) -> bool {
    let Some((words, number)) = label.rsplit_once('-') else { return false };
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    matches!(number.as_bytes(), [b'1'..=b'9'])
        && words.split('-').count() >= 2
        && words.split('-').all(is_word)
        && words.split('-').next().is_some_and(|area| area.len() == 2)
}

/// All others, in the order of their suffixes, of which the longest counts.
#[rustfmt::skip] // a table
const TABLE: [Known; 154] = [
    one("1e100.net", "Google", "cloud", "Google"),
    each("adyen.com", "payment", "Adyen"),
    each("aivencloud.com", "database", "Aiven"),
    one("akamai.net", "Akamai", "cdn", "Akamai"),
    one("akamaiedge.net", "Akamai", "cdn", "Akamai"),
    one("akamaitechnologies.com", "Akamai", "cdn", "Akamai"),
    one("akamaized.net", "Akamai", "cdn", "Akamai"),
    each("algolia.net", "database", "Algolia"),
    each("algolianet.com", "database", "Algolia"),
    each("alpinelinux.org", "packages", "Alpine Linux"),
    each("anthropic.com", "ai", "Anthropic"),
    each("applicationinsights.azure.com", "monitoring", "Azure"),
    each("appspot.com", "cloud", "Google Cloud"),
    each("atlassian.com", "code", "Atlassian"),
    each("atlassian.net", "code", "Atlassian"),
    each("auth0.com", "identity", "Auth0"),
    each("azure-api.net", "cloud", "Azure"),
    each("azure-devices.net", "queue", "Azure"),
    each("azurecr.io", "registry", "Azure"),
    each("azuredatabricks.net", "database", "Databricks"),
    one("azureedge.net", "Azure CDN", "cdn", "Azure"),
    one("azurefd.net", "Azure CDN", "cdn", "Azure"),
    each("azurewebsites.net", "cloud", "Azure"),
    one("b-cdn.net", "bunny.net", "cdn", "bunny.net"),
    each("backblazeb2.com", "storage", "Backblaze"),
    each("bitbucket.org", "code", "Atlassian"),
    each("cache.windows.net", "cache", "Azure"),
    each("clickhouse.cloud", "database", "ClickHouse Cloud"),
    each("cloudamqp.com", "queue", "CloudAMQP"),
    each("cloudapp.azure.com", "cloud", "Azure"),
    one("cloudflare-dns.com", "Cloudflare", "cdn", "Cloudflare"),
    one("cloudflare.com", "Cloudflare", "cdn", "Cloudflare"),
    one("cloudflare.net", "Cloudflare", "cdn", "Cloudflare"),
    one("cloudfront.net", "Amazon CloudFront", "cdn", "AWS"),
    each("cloudfunctions.net", "cloud", "Google Cloud"),
    each("cockroachlabs.cloud", "database", "CockroachDB Cloud"),
    each("cognitiveservices.azure.com", "cloud", "Azure"),
    each("cohere.ai", "ai", "Cohere"),
    each("cohere.com", "ai", "Cohere"),
    each("confluent.cloud", "queue", "Confluent Cloud"),
    each("core.windows.net", "storage", "Azure"),
    each("crates.io", "packages", "Rust"),
    each("database.azure.com", "database", "Azure"),
    each("database.windows.net", "database", "Azure"),
    each("databricks.com", "database", "Databricks"),
    each("datadoghq.com", "monitoring", "Datadog"),
    each("datadoghq.eu", "monitoring", "Datadog"),
    each("db.ondigitalocean.com", "database", "DigitalOcean"),
    each("debian.org", "packages", "Debian"),
    each("digitaloceanspaces.com", "storage", "DigitalOcean"),
    each("discord.com", "chat", "Discord"),
    each("docker.com", "registry", "Docker"),
    each("docker.io", "registry", "Docker"),
    each("documents.azure.com", "database", "Azure"),
    one("edgekey.net", "Akamai", "cdn", "Akamai"),
    one("edgesuite.net", "Akamai", "cdn", "Akamai"),
    each("elastic-cloud.com", "database", "Elastic Cloud"),
    each("elastic.cloud", "database", "Elastic Cloud"),
    one("fastly.net", "Fastly", "cdn", "Fastly"),
    one("fastlylb.net", "Fastly", "cdn", "Fastly"),
    each("fedoraproject.org", "packages", "Fedora"),
    each("firebaseio.com", "database", "Google Cloud"),
    each("fly.dev", "cloud", "Fly.io"),
    each("force.com", "cloud", "Salesforce"),
    each("found.io", "database", "Elastic Cloud"),
    each("gcr.io", "registry", "Google Cloud"),
    each("ghcr.io", "registry", "GitHub"),
    each("github.com", "code", "GitHub"),
    each("github.io", "code", "GitHub"),
    each("githubusercontent.com", "code", "GitHub"),
    each("gitlab.com", "code", "GitLab"),
    each("golang.org", "packages", "Go"),
    each("googleapis.com", "cloud", "Google Cloud"),
    each("grafana.net", "monitoring", "Grafana Cloud"),
    each("herokuapp.com", "cloud", "Heroku"),
    each("honeycomb.io", "monitoring", "Honeycomb"),
    each("hubapi.com", "cloud", "HubSpot"),
    each("huggingface.co", "ai", "Hugging Face"),
    each("jsdelivr.net", "cdn", "jsDelivr"),
    each("letsencrypt.org", "certificate", "Let's Encrypt"),
    each("logz.io", "monitoring", "Logz.io"),
    each("mailgun.net", "mail", "Mailgun"),
    each("mailgun.org", "mail", "Mailgun"),
    each("management.azure.com", "cloud", "Azure"),
    each("maven.apache.org", "packages", "Maven Central"),
    each("maven.org", "packages", "Maven Central"),
    each("mcr.microsoft.com", "registry", "Azure"),
    each("microsoftonline.com", "identity", "Azure"),
    each("mistral.ai", "ai", "Mistral AI"),
    each("mongodb.net", "database", "MongoDB Atlas"),
    each("monitor.azure.com", "monitoring", "Azure"),
    each("myshopify.com", "cloud", "Shopify"),
    each("neon.tech", "database", "Neon"),
    each("netlify.app", "cloud", "Netlify"),
    each("newrelic.com", "monitoring", "New Relic"),
    each("npmjs.com", "packages", "npm"),
    each("npmjs.org", "packages", "npm"),
    each("nr-data.net", "monitoring", "New Relic"),
    each("ntp.org", "time", "NTP Pool"),
    each("nuget.org", "packages", "NuGet"),
    each("office365.com", "mail", "Microsoft"),
    each("okta.com", "identity", "Okta"),
    each("ondigitalocean.app", "cloud", "DigitalOcean"),
    each("onmicrosoft.com", "identity", "Azure"),
    each("onrender.com", "cloud", "Render"),
    each("openai.azure.com", "ai", "Azure"),
    each("openai.com", "ai", "OpenAI"),
    each("openrouter.ai", "ai", "OpenRouter"),
    each("outlook.com", "mail", "Microsoft"),
    each("packages.microsoft.com", "packages", "Microsoft"),
    each("packagist.org", "packages", "Packagist"),
    each("pagerduty.com", "monitoring", "PagerDuty"),
    each("paypal.com", "payment", "PayPal"),
    each("pkg.dev", "registry", "Google Cloud"),
    each("postmarkapp.com", "mail", "Postmark"),
    each("psdb.cloud", "database", "PlanetScale"),
    each("pypi.org", "packages", "PyPI"),
    each("pythonhosted.org", "packages", "PyPI"),
    each("quay.io", "registry", "Red Hat"),
    one("r2.cloudflarestorage.com", "Cloudflare R2", "storage", "Cloudflare"),
    each("redis-cloud.com", "cache", "Redis Cloud"),
    each("redis.azure.net", "cache", "Azure"),
    each("redislabs.com", "cache", "Redis Cloud"),
    each("registry.k8s.io", "registry", "Kubernetes"),
    each("registry.redhat.io", "registry", "Red Hat"),
    each("registry.terraform.io", "packages", "HashiCorp"),
    each("releases.hashicorp.com", "packages", "HashiCorp"),
    each("rubygems.org", "packages", "RubyGems"),
    each("run.app", "cloud", "Google Cloud"),
    each("rust-lang.org", "packages", "Rust"),
    each("salesforce.com", "cloud", "Salesforce"),
    each("segment.io", "cloud", "Segment"),
    each("sendgrid.com", "mail", "SendGrid"),
    each("sendgrid.net", "mail", "SendGrid"),
    each("sentry.io", "monitoring", "Sentry"),
    each("servicebus.windows.net", "queue", "Azure"),
    each("slack.com", "chat", "Slack"),
    each("snowflakecomputing.com", "database", "Snowflake"),
    each("splunkcloud.com", "monitoring", "Splunk"),
    one("storage.googleapis.com", "Google Cloud Storage", "storage", "Google Cloud"),
    each("stripe.com", "payment", "Stripe"),
    each("supabase.co", "database", "Supabase"),
    each("supabase.com", "database", "Supabase"),
    each("telegram.org", "chat", "Telegram"),
    each("trafficmanager.net", "balancer", "Azure"),
    each("twilio.com", "chat", "Twilio"),
    each("ubuntu.com", "packages", "Ubuntu"),
    each("upstash.io", "cache", "Upstash"),
    each("vault.azure.net", "identity", "Azure"),
    each("vercel.app", "cloud", "Vercel"),
    each("wasabisys.com", "storage", "Wasabi"),
    each("workers.dev", "cloud", "Cloudflare"),
    each("yarnpkg.com", "packages", "Yarn"),
    each("zendesk.com", "cloud", "Zendesk"),
];

#[cfg(test)]
mod tests {
    use super::super::{ICONS, Pattern, Rule};
    use super::*;

    #[test]
    fn the_table_is_in_order_and_each_entry_would_do_as_a_rule() {
        assert!(TABLE.is_sorted_by(|one, next| one.suffix < next.suffix));
        for known in TABLE.iter().chain(&AMAZON) {
            assert!(ICONS.contains(&known.icon), "{known:?}");
            let rule = Rule {
                pattern: Pattern::Suffix(known.suffix.to_owned()),
                name: known.name.map(str::to_owned),
                icon: Some(known.icon.to_owned()),
                group: Some(known.group.to_owned()),
            };
            assert_eq!(rule.check(), Ok(()), "{known:?}");
        }
    }

    #[test]
    fn services_are_known_by_their_names() {
        let cases = [
            // Each name a node, as in Weave Scope.
            ("sqs.eu-west-1.amazonaws.com", Some(("sqs.eu-west-1.amazonaws.com", "queue", "AWS"))),
            ("db.c1.eu-west-1.rds.amazonaws.com", Some(("db.c1.eu-west-1.rds.amazonaws.com", "database", "AWS"))),
            ("lb-1.us-gov-west-1.elb.amazonaws.com", Some(("lb-1.us-gov-west-1.elb.amazonaws.com", "balancer", "AWS"))),
            ("1.dkr.ecr.us-east-2.amazonaws.com", Some(("1.dkr.ecr.us-east-2.amazonaws.com", "registry", "AWS"))),
            ("ec2.us-east-1.amazonaws.com", Some(("ec2.us-east-1.amazonaws.com", "cloud", "AWS"))),
            ("pubsub.googleapis.com", Some(("pubsub.googleapis.com", "cloud", "Google Cloud"))),
            ("acct.blob.core.windows.net", Some(("acct.blob.core.windows.net", "storage", "Azure"))),
            ("bus.servicebus.windows.net", Some(("bus.servicebus.windows.net", "queue", "Azure"))),
            ("sql.database.windows.net", Some(("sql.database.windows.net", "database", "Azure"))),
            ("tenant.onmicrosoft.com", Some(("tenant.onmicrosoft.com", "identity", "Azure"))),
            ("api.stripe.com", Some(("api.stripe.com", "payment", "Stripe"))),
            ("github.com", Some(("github.com", "code", "GitHub"))),
            // Names made by machines are one.
            ("bucket.s3.amazonaws.com", Some(("Amazon S3", "storage", "AWS"))),
            ("s3.dualstack.eu-west-1.amazonaws.com", Some(("Amazon S3", "storage", "AWS"))),
            ("a.b.s3-eu-west-1.amazonaws.com", Some(("Amazon S3", "storage", "AWS"))),
            ("s3-1-w.amazonaws.com", Some(("Amazon S3", "storage", "AWS"))),
            ("bucket.s3.cn-north-1.amazonaws.com.cn", Some(("Amazon S3", "storage", "AWS"))),
            ("bucket.storage.googleapis.com", Some(("Google Cloud Storage", "storage", "Google Cloud"))),
            ("d1.cloudfront.net", Some(("Amazon CloudFront", "cdn", "AWS"))),
            ("fra16s52-in-f14.1e100.net", Some(("Google", "cloud", "Google"))),
            // Somebody's own machines, and nobody we know.
            ("ec2-192-0-2-1.compute-1.amazonaws.com", None),
            ("ec2-192-0-2-1.eu-west-1.compute.amazonaws.com", None),
            ("1.2.0.192.bc.googleusercontent.com", None),
            ("amazonaws.com", None),
            ("notgithub.com", None),
            ("github.com.example.org", None),
            ("com", None),
        ];
        for (name, want) in cases {
            let found = find(name);
            let got = found.as_deref().map(|it| (&*it.name, it.icon.as_deref(), it.group.as_deref()));
            let want = want.map(|(name, icon, group)| (name, Some(icon), Some(group)));
            assert_eq!(got, want, "{name}");
        }
    }
}
