//! `POST /api/open/oauth2/access_token` and `/refresh_token`. The codes of denials are unverified.

use hyper::{Method, StatusCode, http::request::Parts};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{grants::Denial, response::Response, state::State};

const EXCHANGE: &str = "/api/open/oauth2/access_token";
const REFRESH: &str = "/api/open/oauth2/refresh_token";

pub(crate) fn owns(path: &str) -> bool {
    [EXCHANGE, REFRESH].contains(&path)
}

/// Tokens for a code or a refresh token, or why there are none.
pub(crate) fn respond(state: &State, parts: &Parts, body: &[u8]) -> Response {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Body {
        app_id: Value,
        secret: String,
        auth_code: String,
        refresh_token: String,
    }
    let stats = state.stats();
    let request_id = format!("token-{}", stats.exchanges + stats.refreshes + stats.denied + 1);
    let deny = |code: u32, message: &str| {
        state.count(|stats| stats.denied += 1);
        let body = json!({"code": code, "success": false, "msg": message, "request_id": request_id});
        Response::json(StatusCode::OK, body.to_string())
    };

    let Some(oauth) = state.config.oauth.as_ref().filter(|_| parts.method == Method::POST) else {
        return deny(10_001, "请求方法错误");
    };
    let Ok(body) = serde_json::from_slice::<Body>(body) else {
        return deny(10_002, "参数错误: 请求体");
    };
    let app_id = body.app_id.as_str().map_or_else(|| body.app_id.to_string(), str::to_owned);
    let issued = match parts.uri.path() {
        EXCHANGE => state.exchange((&app_id, &body.secret), &body.auth_code),
        _ => state.refresh((&app_id, &body.secret), &body.refresh_token),
    };
    match issued {
        Err(Denial::App) => deny(10_002, "参数错误: app_id 或 secret"),
        Err(Denial::Code) => deny(10_002, "参数错误: auth_code 无效或已过期"),
        Err(Denial::Refresh) => deny(10_003, "refresh_token 无效或已过期,请重新授权"),
        Ok(pair) => {
            let id = |account: &String| account.parse::<u64>().map_or_else(|_| json!(account), Value::from);
            let accounts: Vec<_> = oauth
                .accounts
                .iter()
                .map(|account| json!({"advertiser_id": id(account), "advertiser_name": format!("广告主{account}")}))
                .collect();
            let body = json!({
                "code": 0, "success": true, "msg": "成功", "request_id": request_id,
                "data": {
                    "user_id": "5f0000000000000001000001",
                    "approval_role_type": 4, "role_type": 1, "platform_type": 1,
                    "access_token": pair.access,
                    "access_token_expires_in": oauth.access_for.as_secs(),
                    "refresh_token": pair.refresh,
                    "refresh_token_expires_in": oauth.refresh_for.as_secs(),
                    "approval_advertisers": accounts,
                },
            });
            Response::json(StatusCode::OK, body.to_string())
        }
    }
}
