//! `/v1/keys`: API keys. A key's secret is answered once, when it is made.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use serde::Deserialize;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::clock;
use crate::domain::ids::KeyId;
use crate::domain::time::Instant;
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::auth::Role;
use crate::http::auth::create_key;
use crate::http::body::Body;
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::query::Page;
use crate::store;
use crate::store::keys::ApiKey;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(revoke))
}

/// What a new key is for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct KeyRequest {
    /// `operator`, `finance`, `ingest`, or `consumer:ID`
    role: String,
    #[serde(default)]
    name: String,
}

/// A key, without its secret.
#[derive(Serialize, ToSchema)]
struct Key {
    #[schema(value_type = String)]
    id: KeyId,
    name: String,
    role: &'static str,
    consumer: Option<String>,
    #[schema(value_type = String)]
    created_at: Instant,
    #[schema(value_type = Option<String>)]
    revoked_at: Option<Instant>,
    /// Only in the answer that makes the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// Reads `operator`, `finance`, `ingest` or `consumer:ID`.
pub fn parse_role(text: &str) -> Option<Role> {
    match text.split_once(':') {
        Some(("consumer", consumer)) if !consumer.is_empty() => Some(Role::Consumer(consumer.to_owned())),
        None if text == "operator" => Some(Role::Operator),
        None if text == "finance" => Some(Role::Finance),
        None if text == "ingest" => Some(Role::Ingest),
        _ => None,
    }
}

fn shown(key: ApiKey, secret: Option<String>) -> Key {
    let ApiKey { id, name, role, created_at, revoked_at } = key;
    let consumer = role.consumer().map(str::to_owned);
    Key { id, name, role: role.name(), consumer, created_at, revoked_at, secret }
}

/// Make a key.
#[utoipa::path(
    post, path = "/v1/keys", tag = "keys", request_body = KeyRequest,
    responses(
        (status = 201, body = Key),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 422, description = "Not a role", body = Problem),
    ),
)]
async fn create(
    State(app): State<App>,
    caller: Caller,
    Body(request): Body<KeyRequest>,
) -> Result<(StatusCode, Json<Key>), Problem> {
    caller.require(&[])?;
    let Some(role) = parse_role(&request.role) else {
        let detail = format!("`{}` is not a role", request.role);
        let fix = "use operator, finance, ingest, or consumer:ID";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown_role", detail.clone()).fix(fix).at(
            "/role",
            "unknown_role",
            detail,
            fix,
        ));
    };
    let made = create_key(&app.db, role, &request.name, None, clock::now()).await?;
    Ok((StatusCode::CREATED, Json(shown(made.key, Some(made.secret)))))
}

/// Every key there ever was.
#[utoipa::path(
    get, path = "/v1/keys", tag = "keys",
    responses(
        (status = 200, description = "A list of keys", body = Object),
        (status = 401, body = Problem), (status = 403, body = Problem),
    ),
)]
async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Page<Key>>, Problem> {
    caller.require(&[])?;
    let keys = app.db.read().await?.keys().await?;
    Ok(Json(Page { data: keys.into_iter().map(|key| shown(key, None)).collect(), next_cursor: None }))
}

/// Revoke a key. It stops working at once.
#[utoipa::path(
    delete, path = "/v1/keys/{id}", tag = "keys", params(("id" = String, Path)),
    responses(
        (status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
    ),
)]
async fn revoke(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    caller.require(&[])?;
    let unknown = || Problem::new(StatusCode::NOT_FOUND, "unknown_key", format!("there is no key {id} to revoke"));
    let id = KeyId::parse(&id).ok_or_else(unknown)?;
    // In a task of its own, so that it is finished even for a caller that goes away in the middle.
    match tokio::spawn(revoke_now(app, id)).await.map_err(|_| Problem::internal())? {
        Err(store::Error::Missing) => Err(unknown()),
        revoked => Ok(revoked.map(|()| StatusCode::NO_CONTENT)?),
    }
}

async fn revoke_now(app: App, id: KeyId) -> store::Result<()> {
    let mut tx = app.db.write().await?;
    tx.revoke_key(&id, clock::now()).await?;
    let committed = tx.commit().await;
    // Even if it failed: whether it did is for the database to say.
    app.keyring.empty();
    committed
}
