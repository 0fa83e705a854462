//! `POST /v1/close`: closes every period that ended by a date.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::billing::close;
use crate::billing::close::CloseError;
use crate::billing::close::Closed;
use crate::billing::close::Through;
use crate::clock;
use crate::http::App;
use crate::http::api::consumers::unprocessable;
use crate::http::auth::Caller;
use crate::http::auth::Role;
use crate::http::body::Body;
use crate::http::problem::Problem;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(close))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CloseRequest {
    /// A date, read in each plan's time zone, or an RFC 3339 time. What ended by then is closed.
    #[schema(example = "2013-02-01")]
    through: String,
}

/// Close and finalise every period that ended by a date. Asking again changes nothing.
#[utoipa::path(
    post, path = "/v1/close", tag = "documents", request_body = CloseRequest,
    responses(
        (status = 200, description = "What was closed", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 409, description = "Somebody else is closing at the same time", body = Problem),
        (status = 422, description = "Not a date", body = Problem),
    ),
)]
async fn close(
    State(app): State<App>,
    caller: Caller,
    Body(request): Body<CloseRequest>,
) -> Result<Json<Closed>, Problem> {
    caller.require(&[Role::Finance])?;
    let through = Through::parse(&request.through).ok_or_else(|| {
        let detail = format!("`{}` is neither a date nor an RFC 3339 time", request.through);
        unprocessable("/through", "invalid_time", detail, "write it like 2013-02-01")
    })?;
    app.metering.flush().await?;
    let closed = close::close(&app.db, &app.metering.versions(), through, clock::now(), |_| {}).await?;
    Ok(Json(closed))
}

impl From<CloseError> for Problem {
    fn from(error: CloseError) -> Self {
        let detail = error.to_string();
        match error {
            CloseError::Store(error) => error.into(),
            CloseError::Overtaken => Self::new(StatusCode::CONFLICT, "closing_already", detail).fix("try again"),
            CloseError::NoBook { .. } => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "no_price_book", detail)
                .fix("publish a price book that applies by then"),
            CloseError::UnknownConsumer(_)
            | CloseError::Credit(_)
            | CloseError::Closing(_)
            | CloseError::Booking(_)
            | CloseError::Period(_)
            | CloseError::Money(_) => {
                tracing::error!("closing: {detail}");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "cannot_close", detail)
                    .fix("nothing of this group of periods was kept; mend what it names, and close again")
            }
        }
    }
}
