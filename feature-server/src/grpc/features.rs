//! `millrace.v1.FeatureService`: typed values with what is true of them, of one key, of some, or of millions.

use std::sync::Arc;

use futures::FutureExt;
use futures::stream::BoxStream;
use millrace_core::assemble::Status as ValueStatus;
use millrace_core::key::KeyText;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::call::{self, Deadline, answered};
use super::message::Written;
use super::rows::Answered;
use super::service::feature_service_server::FeatureService;
use super::stream::{Permit, Rows};
use super::value;
use crate::ask::{self, Selection};
use crate::doors::Door;
use crate::error::RequestError;
use crate::proto::millrace_v1::selection::By;
use crate::proto::millrace_v1::{self as pb, BatchGetFeaturesRequest, GetFeaturesRequest, StreamFeaturesRequest};
use crate::repository::{self, Answer, Plan};
use crate::state::Shared;

/// The service.
pub(super) struct Features {
    shared: Arc<Shared>,
    closing: CancellationToken,
}

impl Features {
    /// Streams end when `closing` is cancelled.
    pub(super) fn new(shared: Arc<Shared>, closing: CancellationToken) -> Self {
        Self { shared, closing }
    }

    async fn get(&self, request: Request<GetFeaturesRequest>) -> Result<Written, Status> {
        let deadline = Deadline::of(request.metadata());
        let GetFeaturesRequest { entity, key, selection, as_of, include_metadata } = request.into_inner();
        let plan = plan(&self.shared, &entity, selection)?;
        let keys = vec![ask::text_key(plan.entity(), "key", key)?];
        let asked = deadline.on(repository::Request::new(plan, keys, value::as_of(as_of)?))?;
        let answer = self.read(&self.shared.doors.grpc_get, &asked, deadline).await?;
        Ok(Answered { asked: &asked, answer: &answer, metadata: include_metadata }.one())
    }

    async fn batch(&self, request: Request<BatchGetFeaturesRequest>) -> Result<Written, Status> {
        let deadline = Deadline::of(request.metadata());
        let BatchGetFeaturesRequest { entity, keys, selection, as_of, include_metadata } = request.into_inner();
        let plan = plan(&self.shared, &entity, selection)?;
        let keys = ask::text_keys(plan.entity(), "keys", keys, self.shared.limits.max_keys)?;
        let asked = deadline.on(repository::Request::new(plan, keys, value::as_of(as_of)?))?;
        let answer = self.read(&self.shared.doors.grpc_batch, &asked, deadline).await?;
        Ok(Answered { asked: &asked, answer: &answer, metadata: include_metadata }.batch())
    }

    async fn read(&self, door: &Door, asked: &repository::Request, deadline: Deadline) -> Result<Answer, Status> {
        let answer = self.shared.read(door, asked).await?;
        let mut values = answer.rows.iter().flat_map(|row| &row.values);
        // What arrived in time is worth more than a deadline exceeded.
        if deadline.is_over() && !answer.away.is_empty() && values.all(|value| value.status == ValueStatus::Error) {
            return Err(call::exceeded());
        }
        Ok(answer)
    }

    /// The rows to come, and the keys that they are of.
    async fn stream(&self, mut request: Request<StreamFeaturesRequest>) -> Result<(Rows, Vec<KeyText>), Status> {
        let deadline = Deadline::of(request.metadata());
        let permit = request.extensions_mut().remove::<Permit>();
        let StreamFeaturesRequest { entity, keys, selection, as_of, include_metadata } = request.into_inner();
        let plan = plan(&self.shared, &entity, selection)?;
        let as_of = value::as_of(as_of)?;
        // Millions of keys take a while to read, in which this thread would serve nobody else.
        let of_plan = plan.clone();
        let keys = tokio::task::spawn_blocking(move || ask::text_keys(of_plan.entity(), "keys", keys, usize::MAX));
        let keys = keys.await.map_err(|error| Status::internal(error.to_string()))??;
        let (shared, closing) = (self.shared.clone(), self.closing.clone());
        Ok((Rows { shared, plan, as_of, metadata: include_metadata, deadline, closing, _permit: permit }, keys))
    }
}

/// The plan of a selection.
fn plan(shared: &Shared, entity: &str, selection: Option<pb::Selection>) -> Result<Arc<Plan>, RequestError> {
    let serving = shared.serving()?;
    let (entity, _) = ask::entity(&serving.definitions, entity)?;
    match selection.and_then(|selection| selection.by) {
        None => ask::plan(shared, &serving, entity, Selection::Streamed),
        Some(By::Service(service)) => ask::plan(shared, &serving, entity, Selection::Service(&service)),
        Some(By::Features(list)) => {
            ask::plan(shared, &serving, entity, Selection::Features(&ask::joined(&list.names)?))
        }
    }
}

#[tonic::async_trait]
impl FeatureService for Features {
    async fn get_features(&self, request: Request<GetFeaturesRequest>) -> Result<Response<Written>, Status> {
        answered(&self.shared.doors.grpc_get, self.get(request).boxed()).await
    }

    async fn batch_get_features(&self, request: Request<BatchGetFeaturesRequest>) -> Result<Response<Written>, Status> {
        answered(&self.shared.doors.grpc_batch, self.batch(request).boxed()).await
    }

    type StreamFeaturesStream = BoxStream<'static, Result<Written, Status>>;

    async fn stream_features(
        &self,
        request: Request<StreamFeaturesRequest>,
    ) -> Result<Response<Self::StreamFeaturesStream>, Status> {
        let mut call = self.shared.doors.grpc_stream.call();
        let begun = call::guarded(self.stream(request)).await;
        let (rows, keys) = begun.inspect_err(|status| call.ends(call::outcome(status.code())))?;
        Ok(Response::new(rows.of(keys, call)))
    }
}
