//! The identity provider: a public one, with one certificate.

use serde_json::json;

use crate::admission::table::{Case, Changes, lengths_of, letters, one, refuses, takes};

/// Text of a certificate of that many characters in all.
pub fn certificate(count: usize) -> String {
    let frame = "-----BEGIN CERTIFICATE-----\n\n-----END CERTIFICATE-----\n";
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        "A".repeat(count - frame.len())
    )
}

pub fn saml(changes: Changes) -> Changes {
    let whole = json!({"entityId": "https://idp.example.com/entity", "endpoint": "https://idp.example.com/sso",
        "signingCertificate": certificate(1000)});
    [vec![("/spec/sso", json!({"saml": whole}))], changes].concat()
}

pub fn cases() -> Vec<Case> {
    let endpoint = |url: &str| saml(one("/spec/sso/saml/endpoint", url));
    let signed = |text: String| saml(one("/spec/sso/saml/signingCertificate", text));
    let certificates = "exactly one certificate in PEM form";
    let mut cases = vec![
        takes("single sign-on", saml(vec![])),
        takes(
            "single sign-on with another id",
            saml(one(
                "/spec/sso/saml/alternateId",
                "urn:oid:0.9.2342.19200300.100.1.3",
            )),
        ),
        refuses(
            "single sign-on without a provider",
            one("/spec/sso", json!({})),
            "spec.sso.saml…Required value",
        ),
        refuses(
            "two certificates",
            signed([certificate(500), certificate(500)].concat()),
            certificates,
        ),
        refuses(
            "a private key",
            signed(certificate(500).replace("CERTIFICATE", "PRIVATE KEY")),
            certificates,
        ),
        refuses(
            "a certificate and a key",
            signed(certificate(500) + &certificate(500).replace("CERTIFICATE", "PRIVATE KEY")),
            certificates,
        ),
        refuses(
            "text before the certificate",
            signed(format!("subject=idp\n{}", certificate(500))),
            certificates,
        ),
        refuses(
            "a certificate in one line",
            signed(certificate(500).replace('\n', "")),
            certificates,
        ),
        refuses(
            "a certificate without its end",
            signed(certificate(500).replace("-----END CERTIFICATE-----", "")),
            certificates,
        ),
        refuses(
            "a certificate that is none",
            signed("hello".repeat(50)),
            certificates,
        ),
        refuses(
            "a certificate that is too short",
            signed("x".into()),
            "signingCertificate…at least 100 chars long",
        ),
    ];
    cases.extend(lengths_of(
        "/spec/sso/saml/signingCertificate",
        8192,
        certificate,
        signed,
    ));
    cases.extend(lengths_of("/spec/sso/saml/entityId", 1024, letters, |text| {
        saml(vec![("/spec/sso/saml/entityId", text.into())])
    }));
    cases.extend(lengths_of("/spec/sso/saml/alternateId", 256, letters, |text| {
        saml(vec![("/spec/sso/saml/alternateId", text.into())])
    }));
    cases.extend(lengths_of(
        "/spec/sso/saml/endpoint",
        1024,
        |n| format!("https://a.example/{}", letters(n - 18)),
        |url| endpoint(&url),
    ));
    for good in [
        "https://idp.example.com",
        "https://idp.example.com:8443/sso?tenant=a#x",
        "https://IDP.Example.COM/sso",
        "https://xn--bcher-kva.example/",
        "https://idp.example.com/a/../b",
    ] {
        cases.push(takes(format!("the endpoint {good}"), endpoint(good)));
    }
    for wrong in [
        "http://idp.example.com/sso",
        "idp.example.com/sso",
        "javascript:alert(1)",
        "ftp://idp.example.com",
        "file:///etc/passwd",
        "HTTPS://idp.example.com",
        "https:idp.example.com",
        "https//idp.example.com",
        "https://idp.example.com/\n",
    ] {
        cases.push(refuses(
            format!("the endpoint {wrong:?}"),
            endpoint(wrong),
            "begins with https://",
        ));
    }
    for wrong in [
        "https://10.0.0.1/sso",
        "https://169.254.169.254/latest",
        "https://[::1]/sso",
        "https://[::ffff:10.0.0.1]/sso",
        "https://localhost/sso",
        "https://kubernetes/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://10.0.0.1./sso",
        "https://idp.example.com./sso",
        "https://user:secret@idp.example.com/",
        "https://idp.example.com@evil.example/",
        "https://idp.example.com:0/",
        "https://idp.example.com:123456/",
        "https://idp_x.example.com/",
        "https:///sso",
        "https://.example.com",
    ] {
        cases.push(refuses(
            format!("the endpoint {wrong}"),
            endpoint(wrong),
            "must name a public host",
        ));
    }
    for own in [
        "https://kubernetes.default.svc/",
        "https://kubernetes.default.svc:443",
        "https://a.b.SVC/x",
        "https://x.cluster.local?y",
        "https://app.localhost#z",
    ] {
        cases.push(refuses(
            format!("the endpoint {own}"),
            endpoint(own),
            "are the cluster's own",
        ));
    }
    cases
}
