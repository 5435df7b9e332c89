//! `GET /api/about`: what the page shows before anybody has signed in. Nothing here is a secret.

use super::App;
use crate::version::{PRODUCT, VERSION};
use axum::{Json, extract::State};
use serde_json::{Value, json};

pub async fn about(State(app): State<App>) -> Json<Value> {
    let settings = app.settings.get();
    Json(json!({
        "product": PRODUCT,
        "version": VERSION,
        "tenant": settings.tenant.title(),
        "edition": settings.tenant.edition,
        "region": settings.tenant.region,
        "environment": settings.tenant.environment,
        "sso": settings.sso,
        "passwordMinLength": settings.password.min_length,
        "dueDates": cfg!(has_due_date),
    }))
}
