//! Requests, answers and commands.

use crate::{Farm, connect, pool, soon};
use bus_schemas::{
    WorkerId,
    command::{CommandError, CommandName, ErrorCode, PoolRequest, Revision},
    examples,
    member::{JoinReply, JoinRequest},
    subject::{Subject, filter},
};
use nats_adapter::{CommandService, RequestError};

fn pause() -> &'static [CommandName] {
    std::slice::from_ref(CommandName::find("pool", "pause").unwrap())
}

fn request() -> PoolRequest {
    PoolRequest { reason: "release day".to_owned(), force: false }
}

#[tokio::test]
async fn a_request_is_answered_and_nobody_is_told() {
    let farm = Farm::start().await;
    let join = Subject::Join(pool(), WorkerId::new("w1").unwrap());
    let member = examples::member().unwrap();
    let request = JoinRequest { session: member.session.clone(), ..join_request() };
    let nobody = farm.bus.request::<_, JoinReply>(&join, &request).await.unwrap_err();
    assert_eq!(nobody, RequestError::NoResponders { subject: join.to_string() });

    let mut requests = farm.bus.responder::<JoinRequest>(filter::joins(&pool()), None).await.unwrap();
    let worker = connect(&farm.server).await;
    farm.bus.client().flush().await.unwrap();
    let answer = JoinReply::Accepted(Box::new(member));
    let serve = async {
        let request = requests.next().await.unwrap().unwrap();
        request.reply(&answer).await.unwrap();
        request
    };
    let (reply, served) =
        soon("the answer", async { tokio::join!(worker.request(&join, &request), serve) }).await;
    assert_eq!((reply.unwrap(), served.subject, served.message), (answer.clone(), join, request));
}

fn join_request() -> JoinRequest {
    serde_json::from_slice(&std::fs::read(golden("JoinRequest.json")).unwrap()).unwrap()
}

fn golden(name: &str) -> std::path::PathBuf {
    system_tests::parts::repository().join("bus-schemas/golden").join(name)
}

#[tokio::test]
async fn a_command_is_answered_once_and_its_refusal_comes_with_its_code() {
    let farm = Farm::start().await;
    let mut first = CommandService::start(&farm.bus, "1.0.0", pause()).await.unwrap();
    let other = connect(&farm.server).await;
    let mut second = CommandService::start(&other, "1.0.0", pause()).await.unwrap();
    let refusal = CommandError::new(ErrorCode::UnknownPool, "there is no pool \"main\"\nanywhere");
    let subject = pause()[0].on(pool());

    let asked = request();
    let ask = farm.bus.request::<_, Revision>(&subject, &asked);
    let serve = async {
        let call = tokio::select! {
            call = first.next() => call,
            call = second.next() => call,
        };
        let call = call.unwrap();
        assert_eq!((call.name(), call.target()), (&pause()[0], Ok(pool())));
        assert_eq!(call.decode(), Ok(request()));
        call.respond(Ok(&Revision { revision: 7 })).await.unwrap();
    };
    let (answer, ()) = soon("the answer", async { tokio::join!(ask, serve) }).await;
    assert_eq!(answer.unwrap(), Revision { revision: 7 });

    assert!(second.stop().await.is_empty());
    let ask = farm.bus.request_bytes(&subject, "{".into());
    let serve = async {
        let call = first.next().await.unwrap();
        assert_eq!(call.decode::<PoolRequest>().unwrap_err().code, ErrorCode::MalformedRequest);
        call.refuse(&refusal).await.unwrap();
    };
    let (answer, ()) = soon("the refusal", async { tokio::join!(ask, serve) }).await;
    assert_eq!(answer.unwrap_err(), RequestError::Refused(refusal));
}

#[tokio::test]
async fn a_command_that_is_called_as_it_was_before_is_told_where_its_target_belongs() {
    let farm = Farm::start().await;
    let mut service = CommandService::start(&farm.bus, "1.0.0", pause()).await.unwrap();
    let old = pause()[0].bare();
    let ask = farm.bus.request_bytes(&old, r#"{"pool":"main"}"#.into());
    let serve = async {
        let call = service.next().await.unwrap();
        let refusal = call.target::<bus_schemas::PoolId>().unwrap_err();
        call.refuse(&refusal).await.unwrap();
        refusal
    };
    let (answer, refusal) = soon("the refusal", async { tokio::join!(ask, serve) }).await;
    assert_eq!(refusal.code, ErrorCode::TargetMissing);
    assert!(refusal.message.contains(&pause()[0].on("<pool>")), "{refusal}");
    assert_eq!(answer.unwrap_err(), RequestError::Refused(refusal));
}
